"""Setting up OpenTelemetry: which readers and exporters there are. What is off is not even imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from opentelemetry.metrics import NoOpMeter

from sira_grpc.config import TelemetryConfig
from sira_grpc.errors import ConfigError
from sira_grpc.telemetry.telemetry import Telemetry

if TYPE_CHECKING:
    from opentelemetry.sdk.metrics.export import MetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.trace import TracerProvider as AnyTracerProvider

_SCOPE = "sira_grpc"
_BUCKETS = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds of the latency histogram, seconds. A Resolve takes less than one millisecond, a durable write a few."""
_EXPORT_SECONDS = 2.0
"""How long one export may take, with all its retries: a collector that is away does not hold up the end."""
_Closer = Callable[[], object]


def open_telemetry(config: TelemetryConfig, *, version: str) -> Telemetry:
    """Starts what the configuration asks for: a Prometheus endpoint on a thread of its own, OTLP exporters, or nothing.

    Args:
        config: the telemetry section.
        version: `service.version` of what is exported.

    Raises:
        ConfigError: the Prometheus address cannot be bound.
    """
    if not config.prometheus_address and not config.otlp_endpoint:
        return Telemetry(NoOpMeter(_SCOPE))
    from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, Histogram, MeterProvider
    from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View
    from opentelemetry.sdk.resources import Resource

    resource = Resource.create({"service.name": config.service_name, "service.version": version})
    readers: list[MetricReader] = []
    closers: list[_Closer] = []
    address = ""
    if config.prometheus_address:
        reader, address, close = _prometheus(config.prometheus_address)
        readers.append(reader)
        closers.append(close)
    tracers = None
    if config.otlp_endpoint:
        readers.append(_otlp_metrics(config))
        tracers, close = _otlp_traces(config, resource)
        closers.append(close)
    provider = MeterProvider(
        metric_readers=readers,
        resource=resource,
        # Exemplars double the price of every record.
        exemplar_filter=AlwaysOffExemplarFilter(),
        shutdown_on_exit=False,
        views=[View(instrument_type=Histogram, aggregation=ExplicitBucketHistogramAggregation(_BUCKETS))],
    )
    closers.append(lambda: provider.shutdown(timeout_millis=_EXPORT_SECONDS * 1000))
    return Telemetry(provider.get_meter(_SCOPE, version), tracers, address, closers)


def _prometheus(address: str) -> tuple[MetricReader, str, _Closer]:
    """A reader, the address where it is served, and what ends the server."""
    from opentelemetry.exporter.prometheus import PrometheusMetricReader
    from prometheus_client import CollectorRegistry, start_http_server

    registry = CollectorRegistry()
    host, _, port = address.rpartition(":")
    try:
        server, thread = start_http_server(int(port), addr=host.strip("[]") or "0.0.0.0", registry=registry)
    except OSError as error:
        raise ConfigError(f"telemetry.prometheus_address: {address} cannot be bound: {error.strerror}") from error

    def close() -> None:
        server.shutdown()
        server.server_close()
        thread.join()

    return PrometheusMetricReader(registry=registry), f"{host}:{server.server_port}", close


def _otlp_metrics(config: TelemetryConfig) -> MetricReader:
    from opentelemetry.exporter.otlp.json.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader

    exporter = OTLPMetricExporter(endpoint=_url(config, "metrics"), headers=_headers(config), timeout=_EXPORT_SECONDS)
    return PeriodicExportingMetricReader(exporter, export_interval_millis=config.metric_interval * 1000)


def _otlp_traces(config: TelemetryConfig, resource: Resource) -> tuple[AnyTracerProvider, _Closer]:
    from opentelemetry.exporter.otlp.json.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio

    exporter = OTLPSpanExporter(endpoint=_url(config, "traces"), headers=_headers(config), timeout=_EXPORT_SECONDS)
    provider = TracerProvider(
        resource=resource, sampler=ParentBasedTraceIdRatio(config.trace_sample_ratio), shutdown_on_exit=False
    )
    provider.add_span_processor(BatchSpanProcessor(exporter))
    return provider, provider.shutdown


def _url(config: TelemetryConfig, signal: str) -> str:
    return f"{config.otlp_endpoint.rstrip('/')}/v1/{signal}"


def _headers(config: TelemetryConfig) -> dict[str, str]:
    return {name: value.reveal() for name, value in config.otlp_headers.items()}
