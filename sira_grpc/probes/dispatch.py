"""The prober that the registry is handed: it picks the probe by the kind of the endpoint's check."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from pathlib import Path

from sira.registry.v1.endpoint_pb2 import Endpoint

from sira_grpc.probes.dialing import Dialer
from sira_grpc.probes.grpc import GrpcProbe
from sira_grpc.probes.http import HttpProbe
from sira_grpc.probes.tcp import TcpProbe
from sira_grpc.probes.trust import GrpcTrust, ProberIdentity, RootsTrust, SvidTrust, TrustRoots
from sira_grpc.registry.probe_api import Prober, ProbeResult


class KindProber:
    """Implements Prober for the kinds grpc, http and tcp."""

    def __init__(self, trust: TrustRoots, grpc_trust: GrpcTrust) -> None:
        self._dialer = Dialer()
        self._grpc = GrpcProbe(self._dialer, grpc_trust)
        self._probes = {
            "grpc": self._grpc.probe,
            "http": HttpProbe(self._dialer, trust.context).probe,
            "tcp": TcpProbe(self._dialer).probe,
        }

    async def probe(self, endpoint: Endpoint) -> ProbeResult:
        """See Prober. The endpoint's check must be of one of the three kinds."""
        return await self._probes[endpoint.health_check.WhichOneof("kind") or ""](endpoint)

    def follow(self, endpoint: Endpoint) -> AsyncGenerator[ProbeResult, None] | None:
        """See Prober. Only gRPC can."""
        return self._grpc.follow(endpoint) if endpoint.health_check.HasField("grpc") else None

    def release(self, endpoint: Endpoint) -> None:
        """See Prober."""
        if endpoint.health_check.HasField("grpc"):
            self._grpc.release(endpoint)

    async def close(self) -> None:
        """See Prober."""
        self._dialer.close()
        await self._grpc.close()


def make_prober(tls_ca_file: Path | None = None, identity: ProberIdentity | None = None) -> Prober:
    """Returns a prober for gRPC, HTTP and TCP checks.

    Args:
        tls_ca_file: PEM file of the certificates that endpoints' own are verified against, where a check asks for
            TLS. None means the roots that the machine comes with.
        identity: what gRPC checks with TLS show and verify where no file is given: an endpoint must have a certificate
            of its own service. None without identity.

    Raises:
        ConfigError: the file cannot be used.
    """
    roots = TrustRoots.load(tls_ca_file)
    grpc_trust = RootsTrust(roots) if identity is None or tls_ca_file is not None else SvidTrust(identity)
    return KindProber(roots, grpc_trust)
