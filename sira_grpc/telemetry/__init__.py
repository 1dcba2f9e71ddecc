"""Metrics and traces: an OpenTelemetry meter and tracer, exported where the configuration says."""

from __future__ import annotations

from sira_grpc.telemetry.providers import open_telemetry
from sira_grpc.telemetry.telemetry import Telemetry

__all__ = ["Telemetry", "open_telemetry"]
