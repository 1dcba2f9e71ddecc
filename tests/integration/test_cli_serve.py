"""`sira dev` and `sira up` as processes: how they start, tell, drain and fail."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from sira_grpc.cli.exits import ExitCode
from tests.integration.sira_process import SiraProcess, dev
from tests.unit.probes.certificates import make_certificate


def status(address: str, **environment: str) -> SiraProcess:
    return SiraProcess("--addr", address, "status", "-o", "json", environment=environment)


def test_dev_tells_where_it_is_drains_and_leaves_nothing_behind() -> None:
    with dev() as kernel:
        ready = kernel.json()
        (address,) = ready["addresses"]
        assert address.startswith("127.0.0.1:")
        assert ready["secondsToStart"] > 0
        assert Path(ready["dataDir"]).is_dir()
        with status(address) as asked:
            assert asked.wait() == ExitCode.OK
        assert kernel.interrupt() == ExitCode.OK
        kernel.chatter("draining")
        kernel.chatter("stopped")
        assert not Path(ready["dataDir"]).exists()


def test_dev_says_it_in_a_line_for_people_too(tmp_path: Path) -> None:
    with SiraProcess("dev", "--listen", f"unix:{tmp_path}/sira.sock", "--data-dir", str(tmp_path / "data")) as kernel:
        line = kernel.line()
        assert line.startswith(f"sira ready on unix:{tmp_path}/sira.sock in ")
        assert line.endswith(f" s; data in {tmp_path}/data")
        with status(f"unix:{tmp_path}/sira.sock") as asked:
            assert asked.wait() == ExitCode.OK
        assert kernel.interrupt() == ExitCode.OK
    assert (tmp_path / "data").is_dir()


def test_an_address_that_is_taken_is_a_clear_error() -> None:
    with dev() as first:
        (address,) = first.json()["addresses"]
        with SiraProcess("dev", "--listen", address) as second:
            assert address in second.chatter("sira: ")
            assert second.wait() == ExitCode.USAGE


def test_two_kernels_do_not_share_a_folder(tmp_path: Path) -> None:
    with dev("--data-dir", str(tmp_path)) as first:
        first.json()
        with dev("--data-dir", str(tmp_path)) as second:
            assert str(tmp_path) in second.chatter("sira: ")
            assert second.wait() == ExitCode.ERROR


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    """A configuration with TLS and metrics, whose certificate is its own authority."""
    made = make_certificate(tmp_path, dns="localhost", ip="127.0.0.1")
    tls = {"cert_file": str(made.certificate), "key_file": str(made.key)}
    path = tmp_path / "sira.yaml"
    path.write_text(
        yaml.safe_dump(
            {
                "server": {"addresses": ["127.0.0.1:0"], "tls": tls},
                "store": {"data_dir": str(tmp_path / "data")},
                "telemetry": {"prometheus_address": "127.0.0.1:0"},
            }
        )
    )
    return path


def test_up_serves_with_tls_what_its_file_says(configuration: Path) -> None:
    authority = str(configuration.parent / "localhost.pem")
    with SiraProcess("up", "--config", str(configuration), "-o", "json") as kernel:
        ready = kernel.json()
        (address,) = ready["addresses"]
        assert ready["metricsAddress"].startswith("127.0.0.1:")
        with status(address, SIRA_CA_FILE=authority) as asked:
            assert asked.wait() == ExitCode.OK
        with status(address) as in_plaintext:
            assert in_plaintext.wait() == ExitCode.UNAVAILABLE
        register = ("--addr", address, "register", "checkout", "127.0.0.1:9", "--id", "a", "--drain", "0")
        with SiraProcess(*register, environment={"SIRA_CA_FILE": authority}) as registered:
            assert registered.line().endswith("/endpoints/a at 127.0.0.1:9")
            assert registered.interrupt() == ExitCode.OK
        assert kernel.interrupt() == ExitCode.OK


def test_up_logs_as_it_is_told(configuration: Path) -> None:
    with SiraProcess("up", "-c", str(configuration), environment={"SIRA_LOG_FORMAT": "json"}) as kernel:
        assert "; metrics on http://127.0.0.1:" in kernel.line()
        assert kernel.interrupt() == ExitCode.OK


def test_a_registration_outlives_a_restart_of_the_kernel(tmp_path: Path) -> None:
    folder = ("--data-dir", str(tmp_path))
    with dev(*folder) as first:
        (address,) = first.json()["addresses"]
        with SiraProcess("--addr", address, "register", "checkout", ":9000", "--id", "a", "--drain", "0") as registered:
            assert registered.line().endswith("/services/checkout/endpoints/a at 127.0.0.1:9000")
            first.kill()
            registered.chatter("connection lost, trying again: ")
            with SiraProcess("dev", "--listen", address, *folder) as second:
                second.line()
                registered.chatter("connected again")
                with SiraProcess("--addr", address, "endpoints", "get", "checkout/a") as asked:
                    assert asked.wait() == ExitCode.OK
                assert registered.interrupt() == ExitCode.OK
                assert second.interrupt() == ExitCode.OK
