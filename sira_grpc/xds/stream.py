"""One stream over which a client takes its configuration."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator
from dataclasses import dataclass
from typing import Any

from sira_grpc.clock import Clock
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.xds.delta import DeltaSubscription
from sira_grpc.xds.explanation import Explained, explain
from sira_grpc.xds.name_sets import EMPTY
from sira_grpc.xds.node import Node
from sira_grpc.xds.pacing import Pacing
from sira_grpc.xds.requests import node_of, type_of
from sira_grpc.xds.sotw import SotwSubscription
from sira_grpc.xds.source import Change
from sira_grpc.xds.subscription import Reader, Subscription
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, ORDER, ROUTES
from sira_grpc.xds.warming import Warming


@dataclass(frozen=True, slots=True)
class Terms:
    """How a stream is opened.

    Attributes:
        delta: the client takes changes instead of states of the world.
        type_url: the only type that it is for; None if it is aggregated.
        identity: of the client; None where it showed none.
        peer: its address.
    """

    delta: bool
    type_url: str | None = None
    identity: SpiffeId | None = None
    peer: str = ""


class Stream:
    """A stream. What changes is conflated: a response is made when the transport asks for one, of what there is then.

    Args:
        stream_id: what tells it from others of this member.
        terms: how it is opened.
        reader_of: returns through what it sees resources, of its node.
        generation: that of the source: all changes up to it are there already.
        keeping: called with the time at which `overdue` is to be called, monotonic seconds.
        ended: called once, when it is closed.

    Attributes:
        id, identity, peer, delta: as it was opened.
        node: who the client is; None before its first request.
        connected_ns: when it was opened, Unix nanoseconds.
        closed: it has ended.
    """

    def __init__(
        self,
        stream_id: str,
        terms: Terms,
        *,
        reader_of: Callable[[Node], Reader],
        generation: int,
        clock: Clock,
        keeping: Callable[[float], None],
        ended: Callable[[Stream], None],
    ) -> None:
        self.id = stream_id
        self.delta = terms.delta
        self.identity = terms.identity
        self.peer = terms.peer
        self.node: Node | None = None
        self.connected_ns = clock.time_ns()
        self.closed = False
        self._type_url = terms.type_url
        self._reader_of = reader_of
        self._reader: Reader | None = None
        self._clock = clock
        self._keeping = keeping
        self._ended = ended
        self._told = generation
        self._nonces = 0
        self._beat = False
        self._subscriptions: dict[str, Subscription] = {}
        self._warming = Warming()
        self._pacing = Pacing()
        self._wake = asyncio.Event()

    def receive(self, request: Any) -> None:
        """Takes in a DiscoveryRequest, or on a delta stream a DeltaDiscoveryRequest.

        Raises:
            InvalidField: it breaks a rule; nothing has changed.
        """
        if self.closed:
            return
        type_url = type_of(request, self._type_url, delta=self.delta)
        reader = self._reader or self._reader_of(node_of(request, self.identity))
        if type_url:
            subscription = self._subscriptions.get(type_url)
            if subscription is None:
                subscription = (DeltaSubscription if self.delta else SotwSubscription)(reader, type_url)
            subscription.receive(request)
            self._subscriptions[type_url] = subscription
            if subscription.due or self._keeps or self._warming or self._beat:
                self._wake.set()
        self._reader, self.node = reader, reader.node

    async def responses(self) -> AsyncGenerator[bytes, None]:
        """Yields serialized responses until the stream is closed; then what is due already, and returns.

        To be closed with aclose().
        """
        while True:
            for subscription in tuple(self._subscriptions.values()):
                if subscription.due:
                    await subscription.build()
            response = self.next_response()
            if response is not None:
                yield response
                continue
            if self.closed:
                return
            self._wake.clear()
            await self._wake.wait()

    def next_response(self) -> bytes | None:
        """Makes the next response, serialized; None if nothing is due. Its owner asks `responses` instead.

        What is referred to comes before what refers to it, and what is gone goes last. Routes wait until an Envoy can
        use the clusters that it was sent, and changes until a client has had time for those before.
        """
        now = self._clock.monotonic()  # the same for all that looks at it: what is put off is put off until later
        response = self._next_change(now)
        if response is not None:
            return response
        if self._keeps:
            clusters, routes = self._subscriptions[CLUSTER], self._subscriptions.get(ROUTES)
            told = self._told >= clusters.reader.source.generation  # else the routes may be about to leave it too
            settled = told and (routes is None or not routes.all_names or routes.quiet)
            clusters.release(now, settled=settled)
            response = self._compose(clusters) if clusters.released else None
            if response is not None:
                return response
            if self._keeps:
                self._keeping(self._keeps_until)
        if self._warms(now):
            self._keeping(self._warming.until)
        if self._beat and self._subscriptions[ENDPOINTS].idle:
            self._beat = False
            return self._subscriptions[ENDPOINTS].heartbeat(self._nonce())
        return None

    def _next_change(self, now: float) -> bytes | None:
        waits = self._pacing.waits(now)
        routes = self._subscriptions.get(ROUTES)
        if routes is not None and routes.due and CLUSTER in self._subscriptions:
            # Routes lead to what is there by now, of which nobody may have told yet.
            self._subscriptions[CLUSTER].outgrown()
        for type_url in ORDER:
            subscription = self._subscriptions.get(type_url)
            if subscription is None or not subscription.due or (type_url == ROUTES and self._warms(now)):
                continue
            asked = subscription.asked
            response = self._compose(subscription) if asked or not waits else None
            if response is not None:
                if not asked:
                    self._pacing.told(subscription.reader.node)
                return response
        if waits:
            self._keeping(self._pacing.until)
        else:
            self._pacing.rest(now)
        return None

    def close(self) -> None:
        """Ends it. May be called again."""
        if not self.closed:
            self.closed = True
            self._wake.set()
            self._ended(self)

    def tell(self, change: Change) -> None:
        """Tells it what has changed in the source."""
        if change.generation <= self._told:
            return
        self._told = change.generation
        if self._keeps:
            self._wake.set()
        own = self.node is not None and self.node.service in change.services
        for type_url, subscription in self._subscriptions.items():
            names = change.names.get(type_url, EMPTY)
            if (names or own) and subscription.touch(names, own=own):
                self._wake.set()

    def beat(self) -> None:
        """Has it say of what has a TTL that it is as it was."""
        if self._reader is not None and self._reader.ttl and ENDPOINTS in self._subscriptions:
            self._beat = True
            self._wake.set()

    def overdue(self, now: float) -> float:
        """Has it do what it has put off for long enough. Returns when to call again, if ever."""
        until = min(self._keeps_until, self._warming.until, self._pacing.until)
        if until > now:
            return until
        self._wake.set()
        return float("inf")

    @property
    def rejected(self) -> int:
        """How many resources the client does not use as it should, as it has rejected them."""
        subscriptions = self._subscriptions.values()
        return sum(s.get(name) in s.rejections for s in subscriptions for name in s.rejections.names)

    def resources(self) -> Iterator[Explained]:
        """Yields what the client is subscribed to, by type and name, and how far each has come."""
        for type_url in ORDER:
            if type_url in self._subscriptions:
                yield from explain(self._subscriptions[type_url])

    @property
    def _keeps_until(self) -> float:
        """Until when it keeps the first of what is gone; for ever if it keeps nothing."""
        clusters = self._subscriptions.get(CLUSTER)
        leaving = clusters.leaving.values() if clusters is not None else ()
        return min(leaving, default=float("inf"))

    @property
    def _keeps(self) -> bool:
        clusters = self._subscriptions.get(CLUSTER)
        return clusters is not None and bool(clusters.leaving)

    def _warms(self, now: float) -> bool:
        """Whether there are clusters that the client cannot use yet."""
        if self._warming:
            self._warming.look(self._subscriptions[CLUSTER], self._subscriptions.get(ENDPOINTS), now)
        return bool(self._warming)

    def _compose(self, subscription: Subscription) -> bytes | None:
        now = self._clock.monotonic()
        response = subscription.compose(self._nonce(), self._told, now)
        if response is None:
            return None
        if subscription.type_url == CLUSTER and subscription.reader.node.envoy:
            changed = [resource.name for resource in response.changed]
            if (endpoints := self._subscriptions.get(ENDPOINTS)) is not None:
                # It keeps a cluster that has changed warming until its endpoints come again.
                endpoints.send_again(changed)
            self._warming.sent(changed, now)
        return response.data

    def _nonce(self) -> str:
        self._nonces += 1
        return f"{self.id[:8]}-{self._nonces}"
