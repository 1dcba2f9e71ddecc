"""What there is to say of a client besides its resources: what it has not asked for, and what its kind does not do."""

from __future__ import annotations

import difflib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sira.registry.v1.service_pb2 import Service
    from sira.xds.v1.client_pb2 import ClientResource
    from sira.xds.v1.client_service_pb2 import ExplainedClient

    from sira_grpc.xds.capabilities import Limit

TYPES = ("Listener", "RouteConfiguration", "Cluster", "ClusterLoadAssignment")
"""In the order in which a client asks for them, each only once it uses the one before."""


@dataclass(frozen=True, slots=True)
class Finding:
    """A client, and what there is to say of it.

    Attributes:
        explained: what the kernel says.
        asked_not: names of types of which it has asked for nothing that concerns the service.
        limits: what in the policy of the service its kind does not do.
    """

    explained: ExplainedClient
    asked_not: tuple[str, ...] = ()
    limits: tuple[Limit, ...] = ()


def examine(explained: ExplainedClient, service: str, known: Service | None) -> Finding:
    """Returns what there is to say of a client and a service.

    Args:
        explained: the client, with the resources that concern the service.
        service: its name; empty if it is about all.
        known: the service; None if it is not there.
    """
    from sira_grpc.xds.capabilities import unsupported

    limits = tuple(unsupported(known, explained.client.kind)) if known is not None else ()
    return Finding(explained, _asked_not(explained, service) if service else (), limits)


def type_name(resource: ClientResource) -> str:
    """`Cluster`, of `type.googleapis.com/envoy.config.cluster.v3.Cluster`."""
    return resource.type_url.rpartition(".")[2]


def difference(resource: ClientResource) -> Iterator[str]:
    """Yields how what it would get now differs from what it was sent last: a unified diff, or nothing."""
    if resource.sent_version == resource.current_version:
        return
    yield from difflib.unified_diff(
        resource.sent_json.splitlines(),
        resource.current_json.splitlines(),
        f"{resource.name} as sent ({resource.sent_version or 'nothing'})",
        f"{resource.name} as it is ({resource.current_version or 'gone'})",
        lineterm="",
    )


def _asked_not(explained: ExplainedClient, service: str) -> tuple[str, ...]:
    asked = {type_name(resource) for resource in explained.resources}
    if explained.client.service == service and asked:
        return ()  # it is a server of the service itself: the listener is all there is
    return tuple(name for name in TYPES if name not in asked)
