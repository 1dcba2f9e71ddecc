"""What a sidecar was told to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sira_grpc.cli.sidecar.envoy_process import EnvoyOptions
    from sira_grpc.cli.sidecar.kernel_access import KernelAccess
    from sira_grpc.cli.sidecar.local_health import LocalHealth
    from sira_grpc.xds.node import Inbound


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The plan.

    Attributes:
        service: resource name of the service.
        endpoint_id: id of the endpoint, and the last part of what Envoy calls itself.
        access: to the kernel.
        envoy: how Envoy is run.
        inbound: ports of the service; the first one is registered.
        egress_port: loopback port for calls to other services; 0 for none.
        upstreams: resource names of the services that are called; empty for all.
        region, zone: where it runs.
        admin: where Envoy's administration is; empty for a private socket.
        delta: whether Envoy is told changes only.
        endpoint: arguments of sira_client.Client.register; None for not to be registered.
        health: of the service; None where it is not registered.
        drain: seconds that callers have at the end to go elsewhere; 0 for none.
        patience: seconds that Envoy may take to become ready.
        command: program to run beside Envoy; empty for none.
    """

    service: str
    endpoint_id: str
    access: KernelAccess
    envoy: EnvoyOptions
    inbound: Sequence[Inbound] = ()
    egress_port: int = 0
    upstreams: Sequence[str] = ()
    region: str = ""
    zone: str = ""
    admin: str = ""
    delta: bool = True
    endpoint: Mapping[str, Any] | None = None
    health: LocalHealth | None = None
    drain: float = 5.0
    patience: float = 60.0
    command: Sequence[str] = field(default=())

    @property
    def node_id(self) -> str:
        """What Envoy calls itself."""
        from sira_grpc.xds.names import short

        return f"{short(self.service)}/{self.endpoint_id}"

    @property
    def listeners(self) -> set[str]:
        """Names of the listeners that Envoy must have to be ready."""
        from sira_grpc.xds.names import EGRESS, INBOUND

        return {f"{INBOUND}{each.port}" for each in self.inbound} | ({EGRESS} if self.egress_port else set())
