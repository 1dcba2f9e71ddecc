"""Health probers: ask an endpoint over gRPC, HTTP or TCP how it is."""

from __future__ import annotations

from sira_grpc.probes.dispatch import make_prober

__all__ = ["make_prober"]
