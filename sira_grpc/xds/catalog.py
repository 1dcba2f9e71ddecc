"""The catalog: the resources of every client, made from the registry when asked for, and once for all alike."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Hashable, Mapping

from google.protobuf.message import Message
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.times import NANOS
from sira_grpc.xds import wire
from sira_grpc.xds.ages import Ages
from sira_grpc.xds.api_listeners import WAITS_FOR_MISSING
from sira_grpc.xds.coverage import covered
from sira_grpc.xds.footprints import footprint
from sira_grpc.xds.node import Node
from sira_grpc.xds.ramps import Ramps
from sira_grpc.xds.recent import Recent
from sira_grpc.xds.resource import Resource
from sira_grpc.xds.source import Change
from sira_grpc.xds.subjects import Subject, depends_on_node, subject
from sira_grpc.xds.type_urls import LISTENER, SECRET
from sira_grpc.xds.variants import variant
from sira_grpc.xds.world import World

log = logging.getLogger(__name__)

Builder = Callable[[World, str, Node], Message | bytes | None]
"""Returns the message of a plain name for a client, which may be serialized already; None if there is none."""
Key = tuple[str, str, Hashable]
"""Type, name as asked for, variant."""

KEPT_BYTES = 64 << 20
"""Of the younger half of the resources that are kept."""
OVERHEAD = 512
"""Bytes that a resource takes beside its bodies and its key."""
KEPT_NAME_BYTES = 64 << 20
"""Of the younger half of the sets of names that are kept."""
KEPT_FAILURES = 1024
MIN_DELAY = 0.001
"""Seconds. Event loops fire a little early."""

_NO_POLICY = TrafficPolicy()


class _Entry:
    """A resource, and the age of what it was last made of."""

    __slots__ = ("resource", "stamp")

    def __init__(self, resource: Resource, stamp: int) -> None:
        self.resource = resource
        self.stamp = stamp


class Catalog:
    """Implements ResourceSource.

    A resource is as old as what it is made of: that is its generation, also when it is made anew, and it is made anew
    only when something of that is younger than it.

    Args:
        world: what resources are made of.
        builders: by type. If one raises, that is logged, and clients keep the resource as it was; there is none if it
            was never made.
    """

    def __init__(self, world: World, builders: Mapping[str, Builder]) -> None:
        self.changed: list[Callable[[Change], None]] = []
        self._world = world
        self._builders = builders
        self._ages = Ages(world.view, world.references, world.transitions)
        self._ramps = Ramps()
        self._sooner = asyncio.Event()
        self._resources: Recent[Key, _Entry] = Recent(KEPT_BYTES)
        self._names: Recent[Hashable, tuple[int, frozenset[str]]] = Recent(KEPT_NAME_BYTES)
        self._failing: set[tuple[str, str]] = set()
        world.view.hooks.services_changed.append(self._services_changed)

    @property
    def generation(self) -> int:
        """See ResourceSource."""
        return self._ages.generation

    def depends_on_node(self, name: str) -> bool:
        """See ResourceSource."""
        return depends_on_node(name.split("/", 4)[-1] if name.startswith("xdstp://") else name)

    def get(self, type_url: str, name: str, node: Node) -> Resource | None:
        """See ResourceSource."""
        about = subject(type_url, name, node.namespace, envoy=node.envoy)
        if about is None:
            return None
        self._ages.read()
        policy = _NO_POLICY
        if about.target is not None:
            service = self._world.view.services.get(about.target.service)
            if service is not None:
                policy = service.message.traffic_policy
            elif type_url != LISTENER or node.kind not in WAITS_FOR_MISSING:
                return None
        stamp = self._ages.of(type_url, about, node)
        if not stamp:
            return None
        key = (type_url, name, variant(type_url, about, node, policy))
        entry = self._resources.get(key)
        if entry is not None and entry.stamp == stamp:
            return entry.resource
        return self._make(key, about, node, stamp, entry)

    def _make(self, key: Key, about: Subject, node: Node, stamp: int, entry: _Entry | None) -> Resource | None:
        type_url, name, _ = key
        body = self._build(type_url, name, about, node, entry.resource.body if entry is not None else None)
        if body is None:
            self._resources.drop(key)
            return None
        begun = self._ages.begun(type_url, about, node)
        if entry is not None and entry.resource.body == body and entry.resource.generation >= begun:
            entry.stamp = stamp
            return entry.resource
        before = entry.resource if entry is not None else None
        if before is not None:
            before.before = None
        made = Resource(type_url, name, body, stamp, before)
        size = len(body) + (len(before.body) if before is not None else 0) + footprint(key) + OVERHEAD
        self._resources.put(key, _Entry(made, stamp), size)
        return made

    def _build(self, type_url: str, name: str, about: Subject, node: Node, before: bytes | None) -> bytes | None:
        """Returns the body of a resource; the one `before` if it cannot be made, which is better than an outage."""
        builder = self._builders.get(type_url)
        if builder is None:
            return None
        try:
            built = builder(self._world, about.plain, node)
            body = built.SerializeToString(deterministic=True) if isinstance(built, Message) else built
        except Exception:  # others must not suffer from what is wrong with one
            if (type_url, name) not in self._failing and len(self._failing) < KEPT_FAILURES:
                self._failing.add((type_url, name))
                log.exception("%s of %s: cannot be made", name, type_url)
            return before
        self._failing.discard((type_url, name))
        if body is None or name == about.plain:
            return body
        # The name is field 1 in every type; what comes last counts.
        return body + wire.field(1, name.encode())

    def names(self, type_url: str, node: Node) -> frozenset[str]:
        """See ResourceSource."""
        stamp = self._ages.trust if type_url == SECRET else self._ages.membership
        key = (type_url, node.envoy, node.upstreams, node.inbound, node.egress_port)
        known = self._names.get(key)
        if known is not None and known[0] == stamp:
            return known[1]
        found = covered(self._world, self._ages.references, type_url, node)
        if known is not None and known[1] == found:
            found = known[1]
        self._names.put(key, (stamp, found), footprint(key) + footprint(found))
        return found

    def told(self, generation: int) -> None:
        """See ResourceSource."""
        due = self._ages.due
        self._ages.told(generation, self._world.clock.monotonic())
        if self._ages.due != due:
            self._sooner.set()

    def trust_changed(self) -> None:
        """Notes that the roots of the trust domain have changed, and tells of it."""
        self._tell(self._ages.trust_changed())

    def _services_changed(self, services: Collection[str]) -> None:
        now, due = self._world.clock.time_ns(), self._ages.due
        for name in services:
            entry = self._world.view.services.get(name)
            if self._ramps.changed(name, entry.message.traffic_policy if entry is not None else None, now):
                self._sooner.set()
        change = self._ages.services_changed(services, self._world.clock.monotonic())
        if self._ages.due != due:
            self._sooner.set()
        self._tell(change)

    def _tell(self, change: Change) -> None:
        for told in self.changed:
            told(change)

    def tick(self) -> None:
        """Tells of what has changed as time has passed: weights in slow start, and what policies lead to."""
        moved = self._ramps.take(self._world.clock.time_ns(), self._world.view)
        if moved:
            self._tell(self._ages.weights_moved(moved))
        settled = self._ages.settle(self._world.clock.monotonic())
        if settled is not None:
            self._tell(settled)

    async def run(self) -> None:
        """Ticks when it is time to, for as long as it is let run."""
        now = self._world.clock.time_ns()
        for name, entry in self._world.view.services.items():
            self._ramps.changed(name, entry.message.traffic_policy, now)
        while True:
            self._sooner.clear()
            try:
                async with asyncio.timeout(self._delay()):
                    await self._sooner.wait()
            except TimeoutError:
                self.tick()

    def _delay(self) -> float | None:
        """Returns in how many seconds to tick; None if there is no need."""
        clock, delays = self._world.clock, []
        if self._ramps.due is not None:
            delays.append((self._ramps.due - clock.time_ns()) / NANOS)
        if self._ages.due is not None:
            delays.append(self._ages.due - clock.monotonic())
        return max(min(delays), MIN_DELAY) if delays else None
