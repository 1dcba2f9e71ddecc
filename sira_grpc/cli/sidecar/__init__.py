"""`sira sidecar`: runs Envoy next to a service, with what the kernel gives it."""

from __future__ import annotations

from sira_grpc.cli.sidecar.command import sidecar

__all__ = ["sidecar"]
