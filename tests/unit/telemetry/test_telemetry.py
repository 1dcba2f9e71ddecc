"""Setting up metrics and traces."""

from __future__ import annotations

import subprocess
import sys
import urllib.request

import pytest

from sira_grpc.config import TelemetryConfig
from sira_grpc.errors import ConfigError
from sira_grpc.telemetry import Telemetry, open_telemetry


@pytest.fixture
def telemetry() -> Telemetry:
    return open_telemetry(TelemetryConfig(prometheus_address="localhost:0"), version="1.2.3")


def scraped(telemetry: Telemetry) -> list[str]:
    with urllib.request.urlopen(f"http://{telemetry.prometheus_address}/metrics") as answer:
        return str(answer.read(), "utf-8").splitlines()


def test_nothing_is_started_or_imported_where_nothing_is_exported() -> None:
    code = (
        "import sys, threading; from sira_grpc.config import TelemetryConfig; from sira_grpc.telemetry import *;"
        "t = open_telemetry(TelemetryConfig(), version='1');"
        "assert t.tracer_provider is None and t.prometheus_address == ''; t.gauge('g', lambda: 1); t.close();"
        "assert threading.active_count() == 1;"
        "assert not {m for m in sys.modules if m.startswith(('opentelemetry.sdk', 'opentelemetry.exporter'))};"
        "assert 'prometheus_client' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_gauge_is_read_when_somebody_asks(telemetry: Telemetry) -> None:
    size = 1
    telemetry.gauge("sira.registry.endpoints", lambda: size, unit="{endpoint}", description="Endpoints.")
    telemetry.gauge("sira.watch.lag", lambda: [(1.5, {"service": "a"}), (2.5, {"service": "b"})], unit="s")
    size = 7
    lines = scraped(telemetry)
    assert any(line.startswith("sira_registry_endpoints{") and line.endswith(" 7.0") for line in lines)
    assert any('service="a"' in line and line.endswith(" 1.5") for line in lines)
    assert any('service="b"' in line and line.endswith(" 2.5") for line in lines)
    assert any(line.startswith("target_info{") and 'service_version="1.2.3"' in line for line in lines)
    telemetry.close()


def test_a_gauge_that_fails_leaves_the_others(telemetry: Telemetry, caplog: pytest.LogCaptureFixture) -> None:
    def failing() -> float:
        raise RuntimeError("broken gauge")

    telemetry.gauge("broken", failing)
    telemetry.gauge("sound", lambda: 1)
    assert any(line.startswith("sound{") for line in scraped(telemetry))
    assert "Callback failed" in caplog.text
    telemetry.close()


def test_an_address_that_is_taken_is_named(telemetry: Telemetry) -> None:
    address = telemetry.prometheus_address
    with pytest.raises(
        ConfigError, match=rf"telemetry\.prometheus_address: {address} cannot be bound: Address already"
    ):
        open_telemetry(TelemetryConfig(prometheus_address=address), version="1")
    telemetry.close()
    telemetry.close()
    open_telemetry(TelemetryConfig(prometheus_address=address), version="1").close()


def test_every_interface_can_be_listened_on() -> None:
    telemetry = open_telemetry(TelemetryConfig(prometheus_address=":0"), version="1")
    host, _, port = telemetry.prometheus_address.rpartition(":")
    assert host == ""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        assert answer.status == 200
    telemetry.close()


def test_a_collector_that_is_away_is_no_error_and_ends_in_time() -> None:
    telemetry = open_telemetry(TelemetryConfig(otlp_endpoint="http://127.0.0.1:9", trace_sample_ratio=1), version="1")
    assert telemetry.tracer_provider is not None
    with telemetry.tracer_provider.get_tracer("test").start_as_current_span("span"):
        pass
    telemetry.close()
