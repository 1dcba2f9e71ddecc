"""The configuration of metrics and traces."""

from __future__ import annotations

from urllib.parse import urlsplit

from msgspec import field

from sira_grpc.config.address import check_address, is_unix
from sira_grpc.config.kinds import Seconds, Secret, Section, Share
from sira_grpc.errors import ConfigError


class TelemetryConfig(Section, frozen=True):
    """Where metrics and traces go."""

    prometheus_address: str = ""
    """`host:port` of the HTTP server for `/metrics`. Default empty: off. `:port`: all interfaces; port 0: any."""
    otlp_endpoint: str = ""
    """Base URL of an OTLP/HTTP collector, such as `http://127.0.0.1:4318`, for metrics and traces. Default empty: off.

    With `https` the certificate is verified."""
    otlp_headers: dict[str, Secret] = field(default_factory=dict)
    """Headers for the collector, such as an API key. Secret. Default none."""
    metric_interval: Seconds = 30
    """How often metrics are sent to the collector. Seconds, default 30."""
    service_name: str = "sira"
    """The `service.name` of the kernel in metrics and traces. Default sira."""
    trace_sample_ratio: Share = 0.01
    """Share of calls that are traced where the caller has not decided. 0 to 1, default 0.01."""

    def __post_init__(self) -> None:
        """Checks what spans fields."""
        if self.prometheus_address:
            key = "telemetry.prometheus_address"
            check_address(key, self.prometheus_address, empty_host=True)
            if is_unix(self.prometheus_address):
                raise ConfigError(f"{key}: must be host:port")
        if self.otlp_endpoint:
            url = urlsplit(self.otlp_endpoint)
            if url.scheme not in {"http", "https"} or not url.netloc:
                raise ConfigError("telemetry.otlp_endpoint: must be a URL with http or https, as http://127.0.0.1:4318")
        if not self.service_name:
            raise ConfigError("telemetry.service_name: must not be empty")
