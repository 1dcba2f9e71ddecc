"""A source of resources in memory, the same for every client."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from sira_grpc.xds.name_sets import EMPTY
from sira_grpc.xds.node import Node
from sira_grpc.xds.resource import Resource
from sira_grpc.xds.source import Change


class MemorySource:
    """What tests put into it. A name that begins with `own` depends on the service of the client."""

    def __init__(self) -> None:
        self.changed: list[Callable[[Change], None]] = []
        self.generation = 1
        self.told_of = 0
        self.resources: dict[tuple[str, str], Resource] = {}
        self._names: dict[str, frozenset[str]] = {}

    def get(self, type_url: str, name: str, node: Node) -> Resource | None:
        return self.resources.get((type_url, name))

    def names(self, type_url: str, node: Node) -> frozenset[str]:
        found = frozenset(name for kind, name in self.resources if kind == type_url)
        if found != self._names.get(type_url, EMPTY):
            self._names[type_url] = found
        return self._names.get(type_url, EMPTY)

    def told(self, generation: int) -> None:
        self.told_of = generation

    def depends_on_node(self, name: str) -> bool:
        return name.startswith("own")

    def put(self, type_url: str, *names: str, body: bytes = b"") -> None:
        """Has resources be something else; without a body, something new."""
        with_bodies = {(type_url, name): body or f"{name}@{self.generation}".encode() for name in names}
        self.change(with_bodies)

    def drop(self, type_url: str, *names: str) -> None:
        """Has resources be gone."""
        self.change({(type_url, name): None for name in names})

    def change(self, bodies: Mapping[tuple[str, str], bytes | None], *, services: frozenset[str] = EMPTY) -> None:
        """Changes many at once, and tells of them as of one change."""
        self.generation += 1
        touched: dict[str, set[str]] = {}
        for (type_url, name), body in bodies.items():
            touched.setdefault(type_url, set()).add(name)
            before = self.resources.get((type_url, name))
            if body is None:
                self.resources.pop((type_url, name), None)
            elif before is None or before.body != body:
                if before is not None:
                    before.before = None
                self.resources[type_url, name] = Resource(type_url, name, body, self.generation, before)
        names = {type_url: frozenset(found) for type_url, found in touched.items()}
        for told in self.changed:
            told(Change(self.generation, services, names))
