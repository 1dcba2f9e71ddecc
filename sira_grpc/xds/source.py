"""The source of resources, as streams see it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from sira_grpc.xds.node import Node
from sira_grpc.xds.resource import Resource


@dataclass(frozen=True, slots=True)
class Change:
    """What has changed, from one generation of a source to the next.

    Attributes:
        generation: of the source, with the change.
        services: names of services of which something has changed, or that are gone.
        names: by type, names of the resources that may have changed; what is in it may be unchanged. Resources that
            depend on the service of the client itself are not: see `depends_on_node`.
    """

    generation: int
    services: frozenset[str]
    names: dict[str, frozenset[str]]


class ResourceSource(Protocol):
    """Has the resources of every type for every client.

    Attributes:
        changed: called on the event loop when something has changed; must not block.
    """

    changed: list[Callable[[Change], None]]

    @property
    def generation(self) -> int:
        """Grows with each change."""

    def get(self, type_url: str, name: str, node: Node) -> Resource | None:
        """Returns a resource as a client should have it now; None if there is none of that name.

        The same object for every client for which it is the same, and as long as it does not change.
        """

    def names(self, type_url: str, node: Node) -> frozenset[str]:
        """Returns the names that a wildcard subscription of a client covers now: the same object while they stay."""

    def told(self, generation: int) -> None:
        """Notes that all clients were told of what has changed up to a generation."""

    def depends_on_node(self, name: str) -> bool:
        """Whether a resource of that name depends on the service that the client itself runs for."""
