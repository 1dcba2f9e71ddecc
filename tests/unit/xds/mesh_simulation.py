"""A mesh with clients of every kind, on a clock that is moved by hand: what a seed draws happens the same way again."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import count
from random import Random

from envoy.service.discovery.v3.discovery_pb2 import DiscoveryRequest, DiscoveryResponse
from sira.xds.v1.client_pb2 import ClientKind

from sira_grpc.xds.builders import BUILDERS
from sira_grpc.xds.catalog import Catalog
from sira_grpc.xds.names import Target, short
from sira_grpc.xds.node import ENVOY, NODE_JS
from sira_grpc.xds.pacing import PACE, STEP
from sira_grpc.xds.streams import Streams
from sira_grpc.xds.type_urls import CLUSTER, ROUTES
from sira_grpc.xds.warming import LONGEST
from tests.unit.xds.mesh import Mesh
from tests.unit.xds.mesh_client import AGENTS, Habits, MeshClient
from tests.unit.xds.mesh_clients import EnvoyClient, GrpcClient
from tests.unit.xds.mesh_resources import bodies_by_name, clusters_of
from tests.unit.xds.mesh_writes import SERVICES, Writer

DIALED = frozenset(map(short, SERVICES))
PHASES = 3
QUIET = 60.0
"""Seconds after which nothing is under way, whatever was."""
ROUNDS = 200
"""Rounds after which all have done what they have to do at one moment."""
TICK = 1e-6
"""Seconds by which whoever waits wakes late."""
GRACE = 0.1
"""Seconds by which something may be late."""
DUE = {NODE_JS: PACE + STEP, ENVOY: LONGEST}
"""Seconds for which something may be due to a client, where it is not sent at once."""
_NEVER = float("inf")


@dataclass(frozen=True, slots=True)
class Mode:
    """What a mesh goes through.

    Attributes:
        pauses: seconds from some writes to the next, of which one is drawn.
        bursts: times that something is written until the mesh comes to rest, at most.
        lags: seconds after which a client looks at a response, of which one is drawn.
        disorder: clients reject some resources, and connect again now and then.
    """

    pauses: tuple[float, ...]
    bursts: int
    lags: tuple[float, ...]
    disorder: bool = False


class CatalogTask:
    """What Catalog.run does, on a clock that is moved by hand."""

    def __init__(self, catalog: Catalog, mesh: Mesh) -> None:
        self._catalog = catalog
        self._clock = mesh.clock
        self._sleep()

    def _sleep(self) -> None:
        self._catalog._sooner.clear()
        delay = self._catalog._delay()
        self.at = self._clock.monotonic() + delay if delay is not None else _NEVER

    def step(self) -> bool:
        """Does what is due. Returns whether anything was."""
        ticks = self._clock.monotonic() >= self.at
        if ticks:
            self._catalog.tick()
        if ticks or self._catalog._sooner.is_set():
            self._sleep()
        return ticks


class StreamsTask:
    """What Streams.run does, on a clock that is moved by hand."""

    def __init__(self, streams: Streams, mesh: Mesh) -> None:
        self._streams = streams
        self._clock = mesh.clock
        self.at = self._clock.monotonic()

    async def step(self) -> bool:
        """Does what is due. Returns whether anything was."""
        if self._clock.monotonic() < self.at and not self._streams._news.is_set():
            return False
        self._streams._news.clear()
        await self._streams.step()
        wait = self._streams._wait()
        self.at = self._clock.monotonic() + wait if wait is not None else _NEVER
        return True


class Simulation:
    """A mesh, in which what happens is drawn.

    Attributes:
        clients: one of every kind, and of either form that it knows.
    """

    def __init__(self, seed: int, mode: Mode) -> None:
        self._random = Random(seed)
        self._mode = mode
        self._mesh = Mesh()
        self._clock = self._mesh.clock
        ids = count(1)
        deletes = self._random.random() < 0.5
        self._catalog = Catalog(self._mesh.world, BUILDERS)
        self._streams = Streams(
            self._catalog,
            self._clock,
            batch_limit=self._random.choice([0.0, 0.1, 0.5]),
            max_names=1000,
            resource_ttl=self._random.choice([0.0, 0.0, 9.0]),
            new_id=lambda: f"s{next(ids)}",
        )
        self._tasks = CatalogTask(self._catalog, self._mesh), StreamsTask(self._streams, self._mesh)
        self._writer = Writer(self._mesh, self._random, deletes=deletes)
        self._quiet = False
        self._due: dict[tuple[str, str, int], float] = {}
        self.clients: list[MeshClient] = []
        self._habits = Habits(self._lag, refuses=mode.disorder, judges=not mode.disorder, steps=not deletes)

    def _lag(self) -> float:
        return 0.0 if self._quiet else self._random.choice(self._mode.lags)

    async def run(self) -> None:
        """Has everything happen."""
        for _ in range(6):
            self._writer.write()
        for kind in AGENTS:
            for delta in (False, True):
                if not (delta and kind == NODE_JS):
                    self._connect(kind, delta=delta)
        for _ in range(PHASES):
            for _ in range(self._random.randint(3, self._mode.bursts)):
                await self._burst()
            await self._rest()

    def _connect(self, kind: ClientKind.ValueType, *, delta: bool) -> None:
        made = EnvoyClient if kind == ENVOY else GrpcClient
        client = made(self._streams, self._clock, self._random, kind, delta=delta, habits=self._habits)
        self.clients.append(client)
        if isinstance(client, GrpcClient):
            self._dial(client)
        else:
            client.begin()

    def _dial(self, client: GrpcClient) -> None:
        client.dial(frozenset(self._random.sample(sorted(DIALED), self._random.randint(1, 3))))

    async def _burst(self) -> None:
        for _ in range(self._random.choice([1, 1, 1, 2, 4])):
            self._writer.write()
        if self._mode.disorder and self._random.random() < 0.05:
            self._random.choice(self.clients).reconnect()
        if self._random.random() < 0.1:
            client = self._random.choice(self.clients)
            if isinstance(client, GrpcClient):
                self._dial(client)
        await self._advance(self._random.choice(self._mode.pauses))

    async def _advance(self, seconds: float) -> None:
        end = self._clock.monotonic() + seconds
        while True:
            await self._settle()
            now = self._clock.monotonic()
            if now >= end:
                return
            at = min(end, *(task.at for task in self._tasks), *(client.next_look for client in self.clients))
            self._clock.advance(max(0.0, at - now) + TICK)

    async def _settle(self) -> None:
        """Has all do what they have to do by now."""
        catalog, streams = self._tasks
        for _ in range(ROUNDS):
            busy = [catalog.step(), await streams.step()]
            busy += [await client.poll() for client in self.clients]
            self._look_at_streams()
            self._look_at_routes()
            if not any(busy):
                return
        raise AssertionError("there is no end to what clients are sent")

    def _look_at_streams(self) -> None:
        """Fails if something is due for long, or stays for long that is gone."""
        now, due = self._clock.monotonic(), self._due
        self._due = {}
        for client in self.clients:
            for type_url, subscription in client.stream._subscriptions.items():
                if subscription.due:
                    key = (client.stream.id, type_url, subscription.at)
                    since = self._due[key] = due.get(key, now)
                    assert now - since <= DUE.get(client.kind, 0.0) + GRACE, (
                        f"{client}: {type_url} is due since {since}"
                    )
                for name, until in subscription.leaving.items():
                    assert now <= until + GRACE, f"{client}: {name} has not gone"

    def _look_at_routes(self) -> None:
        """Fails if routes refer to clusters that there are not."""
        for client in self.clients:
            node = client.stream.node
            assert node is not None
            there = (self._catalog.get(ROUTES, name, node) for name in sorted(client.asked.get(ROUTES, ())))
            for routes in filter(None, there):
                for cluster in sorted(clusters_of(routes.body)):
                    assert self._catalog.get(CLUSTER, cluster, node), f"{client}: {routes.name} leads to no {cluster}"

    async def _rest(self) -> None:
        """Waits until nothing happens any more, and fails if a client has not what there is then."""
        self._quiet = True
        await self._advance(QUIET)
        for client in self.clients:
            self._compare(client)
        self._look_at_rest()
        self._quiet = False

    def _compare(self, client: MeshClient) -> None:
        """Fails if a client has not what it would fetch now, but for what it has rejected."""
        for type_url, names in client.asked.items():
            if not names:
                continue
            request = DiscoveryRequest(type_url=type_url, node=client.node, resource_names=sorted(names))
            there = bodies_by_name(DiscoveryResponse.FromString(self._streams.fetch(request, type_url=type_url)))
            refused = {name for name, body in there.items() if client.refuses(type_url, body)}
            for name in sorted(refused):
                assert (type_url, name, there[name]) in client.refused, f"{client}: was not sent {name} of {type_url}"
            held = {name: body for name, body in client.held[type_url].items() if name not in refused}
            assert held == {n: b for n, b in there.items() if n not in refused}, f"{client}: {type_url}"

    def _look_at_rest(self) -> None:
        """Fails if something is under way, or is remembered for nothing."""
        for client in self.clients:
            for type_url, subscription in client.stream._subscriptions.items():
                assert subscription.idle, f"{client}: {type_url} is under way"
                assert not subscription.leaving, f"{client}: {type_url} has what is gone"
            assert not client.stream._warming, f"{client}: routes wait"
            assert not client.stream._pacing.waits(self._clock.monotonic()), f"{client}: changes wait"
        transitions, references = self._mesh.world.transitions, self._mesh.world.references
        services = self._mesh.view.services.keys()
        assert not transitions._steps
        assert transitions._latest.keys() == services
        assert not references._until
        assert not references._left
        assert references._made.keys() <= services
        assert references._counts == Counter[Target](target for made in references._made.values() for target in made)
