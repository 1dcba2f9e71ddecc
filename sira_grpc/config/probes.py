"""The configuration of the health probers."""

from __future__ import annotations

from sira_grpc.config.kinds import Count, Section


class ProbesConfig(Section, frozen=True):
    """How the kernel probes endpoints."""

    max_concurrent: Count = 1024
    """Probes under way at the same time. Default 1,024.

    Formula: endpoints x timeout / interval, if none of them answers: 5,000 x 2 s / 10 s = 1,000."""
    tls_ca_file: str = ""
    """PEM file of the authorities that probed endpoints are verified with. Default empty: those of the system.

    Without it, and with identity, gRPC checks with TLS show the kernel's certificate, and want one of the endpoint's
    own service."""
