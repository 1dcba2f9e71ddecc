"""Random clients and changes: once all is quiet, a client has what there is for it, but for what it rejected."""

from __future__ import annotations

import asyncio
from typing import Any

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sira_grpc.xds.stream import Stream
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, FULL_STATE, LISTENER, ROUTES
from tests.clocks import FakeClock
from tests.unit.xds.memory_source import MemorySource
from tests.unit.xds.stream_client import Client, streams

TYPES = (CLUSTER, ENDPOINTS, LISTENER, ROUTES)
NAMES = ("a", "b", "c", "d")
BODIES = (b"1", b"2", b"3", b"bad1", b"bad2")

types = st.sampled_from(TYPES)
names = st.sampled_from(NAMES)
asked = st.lists(st.sampled_from((*NAMES, "*")), max_size=4)
changes = st.dictionaries(st.tuples(types, names), st.sampled_from((*BODIES, None)), min_size=1, max_size=5)


class HoldingClient(Client):
    """Uses what it is sent, and rejects what begins with `bad`: it uses the rest of such a response all the same.

    Attributes:
        asked: by type, the names that it asks for.
        held: by type and name, the bodies that it uses.
        refused: those that it has rejected, since it asked for that name.
        inbox: responses that it has not looked at yet.
        known: on a delta stream, the versions of what it uses.
    """

    def __init__(self, stream: Stream, agent: str) -> None:
        super().__init__(stream, agent=agent)
        self.asked: dict[str, set[str]] = {}
        self.held: dict[tuple[str, str], str] = {}
        self.refused: set[tuple[str, str, str]] = set()
        self.inbox: list[Any] = []
        self.known: dict[tuple[str, str], str] = {}

    def covers(self, type_url: str, name: str) -> bool:
        return bool({name, "*"} & self.asked.get(type_url, set()))

    def look(self) -> None:
        """Looks at the oldest response."""
        response = self.inbox.pop(0)
        self.nonces[response.type_url] = response.nonce
        found = {name: body for name, body in _content(response).items() if self.covers(response.type_url, name)}
        bad = sorted(name for name, body in found.items() if body.startswith("bad"))
        for name in bad:
            self.refused.add((response.type_url, name, found.pop(name)))
        self.use(response, found, bad)
        if bad:
            self.nack(response, *self.listed(response.type_url), reason=f"{', '.join(bad)}: bad")
        else:
            self.ack(response, *self.listed(response.type_url))

    def receive(self, data: bytes) -> None:
        """Puts a response into the inbox. What was rejected before it was made is not in there."""
        kind = DeltaDiscoveryResponse if self.stream.delta else DiscoveryResponse
        response = kind.FromString(data)
        self.inbox.append(response)
        for name, body in _content(response).items():
            assert (response.type_url, name, body) not in self.refused

    def use(self, response: Any, found: dict[str, str], bad: list[str]) -> None:
        type_url = response.type_url
        if self.stream.delta:
            removed = set(response.removed_resources)
        else:
            removed = {name for name in NAMES if type_url in FULL_STATE and name not in (*found, *bad)}
        for name in removed:
            self.held.pop((type_url, name), None)
        self.held.update({(type_url, name): body for name, body in found.items()})
        if self.stream.delta:
            self.known.update(
                {(type_url, each.name): each.version for each in response.resources if each.name in found}
            )

    def connect(self, stream: Stream) -> None:
        """Goes on over another stream with what it has."""
        self.stream = stream
        self.inbox.clear()
        self.nonces.clear()
        self.refused.clear()
        for type_url in (LISTENER, ROUTES, ENDPOINTS, CLUSTER):
            if not self.asked.get(type_url):
                self.asked.pop(type_url, None)
            elif stream.delta:
                known = {name: self.known[type_url, name] for kind, name in self.held if kind == type_url}
                self.subscribe(type_url, *self.listed(type_url), known=known)
            else:
                self.ask(type_url, *self.listed(type_url))

    def listed(self, type_url: str) -> list[str]:
        return sorted(self.asked.get(type_url, set()))


class StreamMachine(RuleBasedStateMachine):
    @initialize(delta=st.booleans(), agent=st.sampled_from(["gRPC C-core", "envoy"]), first=changes)
    def open(self, *, delta: bool, agent: str, first: dict[tuple[str, str], bytes | None]) -> None:
        self.source, self.clock = MemorySource(), FakeClock()
        self.streams = streams(self.source, self.clock)
        self.change(first)
        self.push()
        self.client = HoldingClient(self.streams.open(delta=delta), agent)

    @rule(bodies=changes)
    def change(self, bodies: dict[tuple[str, str], bytes | None]) -> None:
        self.source.change({key: body and key[1].encode() + b"=" + body for key, body in bodies.items()})

    @rule()
    def push(self) -> None:
        with asyncio.Runner() as runner:
            runner.run(self.streams.step())

    @rule(type_url=types, listed=asked)
    def ask(self, type_url: str, listed: list[str]) -> None:
        client, before = self.client, self.client.asked.get(type_url)
        if before is None and not listed and type_url in FULL_STATE:
            listed = ["*"]  # what an empty first list says
        after = set(listed)
        if client.stream.delta:
            fields = {"resource_names_subscribe": sorted(after - (before or set()))}
            fields["resource_names_unsubscribe"] = sorted((before or set()) - after)
            if before is None and not after:
                return
        else:
            # A client that has names to add while a response is on its way says so in its answer to that.
            fields = {"resource_names": listed}
        client.asked[type_url] = after
        client.refused = {
            (kind, name, body)
            for kind, name, body in client.refused
            if kind != type_url or (client.covers(kind, name) and not (name in after and name not in (before or set())))
        }
        for name in NAMES:
            if not client.covers(type_url, name):
                client.held.pop((type_url, name), None)
        nonce = client.nonces.get(type_url, "") if not client.stream.delta else ""
        client.say(type_url, response_nonce=nonce, **fields)

    @rule()
    def take(self) -> None:
        data = self.client.stream.next_response()
        if data is not None:
            self.client.receive(data)

    @precondition(lambda self: self.client.inbox)
    @rule()
    def look(self) -> None:
        self.client.look()

    @rule()
    def reconnect(self) -> None:
        self.client.stream.close()
        self.client.connect(self.streams.open(delta=self.client.stream.delta))

    @rule(seconds=st.sampled_from([1, 6]))
    def wait(self, seconds: int) -> None:
        self.clock.advance(seconds)

    @rule()
    def settle(self) -> None:
        self.push()
        for _ in range(100):
            while self.client.inbox:
                self.client.look()
            self.take()
            if not self.client.inbox:
                break
        self.clock.advance(6)
        self.push()
        self.take()
        while self.client.inbox:
            self.client.look()
            self.take()
        self.compare()

    def compare(self) -> None:
        client = self.client
        for type_url in TYPES:
            for name in NAMES:
                current = self.source.resources.get((type_url, name))
                held = client.held.get((type_url, name))
                if not client.covers(type_url, name):
                    assert held is None
                elif current is None:
                    assert held is None or (not client.stream.delta and type_url not in FULL_STATE)
                elif (body := current.body.decode().partition("=")[2]).startswith("bad"):
                    assert (type_url, name, body) in client.refused
                else:
                    assert held == body, (type_url, name)

    @invariant()
    def what_is_remembered_is_asked_for(self) -> None:
        for subscription in self.client.stream._subscriptions.values():
            assert subscription.missing <= subscription.names
            assert len(subscription.unanswered) <= 16
        list(self.client.stream.resources())

    def teardown(self) -> None:
        if hasattr(self, "client"):
            self.settle()


def _content(response: Any) -> dict[str, str]:
    """Returns the bodies in a response, by name."""
    resources = [getattr(resource, "resource", resource) for resource in response.resources]
    return dict(resource.value.decode().split("=") for resource in resources)


TestStreamMachine = StreamMachine.TestCase
TestStreamMachine.settings = settings(
    max_examples=60, stateful_step_count=30, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
