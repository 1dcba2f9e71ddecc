"""A client of a mesh, without a transport: it asks for what the resources that it uses refer to, and uses all of that.

It fails if what it is sent breaks what it uses already: that is to be made before it is broken.
"""

from __future__ import annotations

import zlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Collection, Mapping, Set
from dataclasses import dataclass
from random import Random
from typing import Any, NamedTuple

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from google.protobuf.struct_pb2 import Struct
from sira.xds.v1.client_pb2 import ClientKind

from sira_grpc.clock import Clock
from sira_grpc.xds.name_sets import EMPTY
from sira_grpc.xds.node import C_CORE, ENVOY, GO, JAVA, NODE_JS
from sira_grpc.xds.streams import Streams
from sira_grpc.xds.subscription import WILDCARD
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, FULL_STATE, LISTENER, ROUTES
from tests.unit.xds.mesh_resources import bodies_by_name
from tests.unit.xds.stream_client import Client

TYPES = (LISTENER, ROUTES, CLUSTER, ENDPOINTS)
REFUSABLE = frozenset({ROUTES, CLUSTER, ENDPOINTS})
REFUSED = 13
"""One of so many resources is rejected by a client that rejects some."""
AGENTS = {
    C_CORE: "gRPC C-core linux Python",
    GO: "gRPC Go",
    JAVA: "gRPC Java",
    NODE_JS: "gRPC Node Pure JS",
    ENVOY: "envoy",
}


@dataclass(frozen=True, slots=True)
class Habits:
    """How a client takes what it is sent.

    Attributes:
        lag: returns the seconds after which it looks at a response.
        refuses: whether it rejects some resources.
        judges: whether it fails if what it uses is broken: only who answers promptly does.
        steps: whether Go fails if it is led to clusters that it does not know yet.
    """

    lag: Callable[[], float]
    refuses: bool
    judges: bool
    steps: bool


class Delivery(NamedTuple):
    """A response that the client has not looked at.

    Attributes:
        at: when it will, monotonic seconds.
        made: when it was made, likewise.
        number: how many were made for the client by then.
        response: the response.
    """

    at: float
    made: float
    number: int
    response: Any


class News(NamedTuple):
    """What a client has learned from a response.

    Attributes:
        type_url: of the response.
        delivery: how that came.
        sent: names of all that is in it.
        came: those of what is new to the client, or something else than before.
        lost: names of what it used, and that is gone.
        before: what it used before of that type, by name.
    """

    type_url: str
    delivery: Delivery
    sent: Set[str]
    came: Set[str]
    lost: Set[str]
    before: Mapping[str, bytes]


class MeshClient(Client, ABC):
    """A client of one kind.

    Attributes:
        kind: what it is built on.
        asked: by type, the names that it asks for.
        held: by type, the bodies that it uses, by name.
        refused: type, name and body of what it has rejected, as long as it asks for that.
        inbox: what it has not looked at yet, oldest first.
    """

    def __init__(
        self, streams: Streams, clock: Clock, random: Random, kind: ClientKind.ValueType, *, delta: bool, habits: Habits
    ) -> None:
        self.kind = kind
        self._streams = streams
        self._clock = clock
        self._random = random
        self._habits = habits
        self._open(delta=delta)

    def _open(self, *, delta: bool) -> None:
        super().__init__(self._streams.open(delta=delta), agent=AGENTS[self.kind])
        self.node["metadata"] = Struct()
        self.asked: dict[str, Set[str]] = {}
        self.held: dict[str, dict[str, bytes]] = {type_url: {} for type_url in TYPES}
        self.refused: set[tuple[str, str, bytes]] = set()
        self.inbox: deque[Delivery] = deque()
        self._polled = False
        self._made = 0
        self._heard: dict[tuple[str, str], int] = {}  # how many responses were made before the stream took in a name

    def __str__(self) -> str:
        form = "delta" if self.stream.delta else "state of the world"
        return f"{AGENTS[self.kind]} ({form}), {self.stream.id}"

    @abstractmethod
    def begin(self) -> None:
        """Asks for what it begins with."""

    @abstractmethod
    def follow(self) -> None:
        """Asks for what the resources that it uses refer to."""

    @abstractmethod
    def judge(self, news: News) -> None:
        """Fails if what it uses is broken."""

    def reconnect(self) -> None:
        """Begins anew, over another stream, as if it was restarted."""
        self.stream.close()
        self._open(delta=self.stream.delta)
        self.begin()

    def want(self, type_url: str, names: Set[str]) -> None:
        """Asks for names of a type, and drops what it has of others."""
        before = self.asked.get(type_url, EMPTY)
        if names == before:
            return
        self.asked[type_url] = names
        for name in before - names:
            self._heard.pop((type_url, name), None)
        if WILDCARD not in names:
            self.held[type_url] = {name: body for name, body in self.held[type_url].items() if name in names}
        self.refused = {each for each in self.refused if each[0] != type_url or self.asks(type_url, each[1])}
        if self.stream.delta:
            added, left = sorted(names - before), sorted(before - names)
            self.say(type_url, resource_names_subscribe=added, resource_names_unsubscribe=left)
        else:
            self.ask(type_url, *sorted(names))
        self._asked(type_url)

    def _asked(self, type_url: str) -> None:
        """Notes what the stream has taken in. It does not of who answers what is not the last state of the world."""
        if self.stream.delta or all(delivery.response.type_url != type_url for delivery in self.inbox):
            for name in self.asked[type_url]:
                self._heard.setdefault((type_url, name), self._made)

    def heard(self, type_url: str, name: str, delivery: Delivery) -> bool:
        """Whether a response was made when the stream had taken in that it asks for a name."""
        return self._heard.get((type_url, name), self._made) < delivery.number

    def asks(self, type_url: str, name: str) -> bool:
        """Whether it asks for a name."""
        return not self.asked.get(type_url, EMPTY).isdisjoint((name, WILDCARD))

    def refuses(self, type_url: str, body: bytes) -> bool:
        """Whether it rejects a resource, whenever it comes."""
        salted = body + AGENTS[self.kind].encode()
        return self._habits.refuses and type_url in REFUSABLE and not zlib.crc32(salted) % REFUSED

    @property
    def next_look(self) -> float:
        """When it looks at a response next, monotonic seconds."""
        return self.inbox[0].at if self.inbox else float("inf")

    async def poll(self) -> bool:
        """Takes what the stream has for it, and looks at what it is time for. Returns whether there was anything."""
        busy = False
        if self.stream._wake.is_set() or not self._polled:
            self._polled = True
            busy = await self._receive()
        while self.next_look <= self._clock.monotonic():
            self._look(self.inbox.popleft())
            busy = True
        return busy

    async def _receive(self) -> bool:
        """Takes responses as they are made for a transport. Returns whether there were any."""
        before = len(self.inbox)
        while True:
            for subscription in tuple(self.stream._subscriptions.values()):
                await subscription.build()
            data = self.stream.next_response()
            if data is None:
                self.stream._wake.clear()
                return len(self.inbox) > before
            response = (DeltaDiscoveryResponse if self.stream.delta else DiscoveryResponse).FromString(data)
            self._made += 1
            now = self._clock.monotonic()
            earliest = self.inbox[-1].at if self.inbox else now
            self.inbox.append(Delivery(max(now + self._habits.lag(), earliest), now, self._made, response))

    def _look(self, delivery: Delivery) -> None:
        response = delivery.response
        type_url = response.type_url
        self.nonces[type_url] = response.nonce
        found = {name: body for name, body in bodies_by_name(response).items() if self.asks(type_url, name)}
        bad = sorted(name for name, body in found.items() if self.refuses(type_url, body))
        self.refused.update((type_url, name, found[name]) for name in bad)
        held, before = self.held[type_url], dict(self.held[type_url])
        lost = self._gone(response, found) & held.keys()
        came = {name for name, body in found.items() if name not in bad and before.get(name) != body}
        held.update((name, found[name]) for name in came)
        for name in lost:
            del held[name]
        if self._habits.judges:
            self.judge(News(type_url, delivery, found.keys(), came, lost, before))
        if self._random.random() < 0.5:
            self.follow()
        self._answer(response, bad)
        self.follow()

    def _gone(self, response: Any, found: Collection[str]) -> Set[str]:
        """Returns the names of what a response says is gone."""
        if self.stream.delta:
            return set(response.removed_resources)
        if response.type_url in FULL_STATE:
            return self.held[response.type_url].keys() - found
        return {error.resource_name.name for error in response.resource_errors}

    def _answer(self, response: Any, bad: list[str]) -> None:
        names = sorted(self.asked[response.type_url])
        if bad:
            self.nack(response, *names, reason=f"bad: {', '.join(bad)}")
        else:
            if not self.stream.delta:
                self.versions[response.type_url] = response.version_info
            self.ack(response, *names)
        self._asked(response.type_url)
