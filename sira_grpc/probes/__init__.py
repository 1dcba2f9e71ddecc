"""Health probers: ask an endpoint over gRPC, HTTP or TCP how it is."""

from __future__ import annotations

from sira_grpc.probes.dispatch import make_prober
from sira_grpc.probes.trust import ProberIdentity

__all__ = ["ProberIdentity", "make_prober"]
