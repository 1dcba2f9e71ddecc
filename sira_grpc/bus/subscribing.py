"""Serves the streams of consumers, of subscriptions and of tails."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from itertools import count

from sira.bus.v1.subscription_service_pb2 import OpenSubscription, SubscribeRequest

from sira_grpc.bus import names
from sira_grpc.bus.active_subscriptions import ActiveSubscriptions
from sira_grpc.bus.consumer import Consumer
from sira_grpc.bus.metrics import BusMetrics
from sira_grpc.bus.namespaces import Namespaces
from sira_grpc.bus.partitions import Partitions
from sira_grpc.bus.session import Session
from sira_grpc.bus.tail import Tail
from sira_grpc.bus.tenure import Tenures, under_way
from sira_grpc.bus.view import BusView, SubscriptionEntry, TopicEntry
from sira_grpc.clock import Clock
from sira_grpc.commits import Commits
from sira_grpc.errors import FieldViolation, InvalidField, NotOwner, SiraError


class Subscribing:
    """The way out.

    Args:
        namespaces: says which there are.
        view, partitions: where records are.
        active: the subscriptions at work.
        commits: looks again before something is refused that another member may have created.
        clock: for deadlines.
        metrics: counts.
        tenure: see Tenures.

    Attributes:
        stopping: the kernel is: what ends a stream now is not the consumer.
    """

    def __init__(
        self,
        namespaces: Namespaces,
        view: BusView,
        partitions: Partitions,
        active: ActiveSubscriptions,
        commits: Commits,
        clock: Clock,
        metrics: BusMetrics,
        tenure: Tenures,
    ) -> None:
        self.stopping = False
        self._tenure = tenure
        self._namespaces = namespaces
        self._view = view
        self._partitions = partitions
        self._active = active
        self._commits = commits
        self._clock = clock
        self._metrics = metrics
        self._numbers = count(1)
        self._tails: set[Tail] = set()
        view.hooks.topic_written.append(self._topics_changed)
        view.hooks.topic_gone.append(self._topics_changed)

    def _topics_changed(self, topic: TopicEntry) -> None:
        for tail in self._tails:
            tail.topics_changed()

    def let_go(self, namespace: str, error: NotOwner, *, orderly: bool) -> Awaitable[None]:
        """See Served. Ends the tails; the streams of a subscription end with it."""
        for tail in self._tails:
            if tail.parent == namespace:
                tail.end(error)
        return asyncio.sleep(0)

    @property
    def tails(self) -> int:
        """Streams of tails that are open."""
        return len(self._tails)

    async def serve(self, requests: AsyncIterator[SubscribeRequest], caller: str) -> AsyncGenerator[bytes, None]:
        """Yields the responses of one stream, serialized.

        Args:
            requests: what the consumer sends.
            caller: what the consumer is called if it does not say.

        Raises:
            InvalidField: the first request does not open, a later one does, or a settlement makes no sense.
            SubscriptionNotFound: there is no such subscription, or it was deleted.
            NamespaceNotFound: of a tail.
            NotOwner: another member serves the namespace, or does from now on.
            StoreUnavailable: what was settled is not durable.
        """
        first = await anext(requests, None)
        if first is None:
            return
        if first.WhichOneof("action") != "open":
            raise InvalidField([FieldViolation("open", "must be the first request")])
        opening = first.open
        serve = self._serve_tail if opening.HasField("tail") else self._serve_subscription
        async for message in serve(opening, requests, opening.consumer or caller):
            yield message

    async def _serve_subscription(
        self, opening: OpenSubscription, requests: AsyncIterator[SubscribeRequest], name: str
    ) -> AsyncGenerator[bytes, None]:
        def look() -> SubscriptionEntry:
            return self._view.subscription(opening.subscription)

        await self._commits.sure(look)  # nobody is to become the owner of any name that is sent
        await self._tenure(names.namespace_in(opening.subscription))
        active = await self._active.get(await self._commits.sure(look))
        consumer = Consumer(next(self._numbers), name, active.wake)
        session = Session(active, consumer, self._clock)
        reading = asyncio.create_task(self._read(requests, consumer, session), name="bus subscribe")
        finished = False
        try:
            while (message := await consumer.next()) is not None:
                yield message
            finished = True
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)
            await session.close(counted=not finished and not self.stopping and active.ended is None)

    async def _serve_tail(
        self, opening: OpenSubscription, requests: AsyncIterator[SubscribeRequest], name: str
    ) -> AsyncGenerator[bytes, None]:
        await self._commits.sure(lambda: self._namespaces.namespace(opening.tail.parent))
        tenure = await self._tenure(opening.tail.parent)
        consumer = Consumer(next(self._numbers), name, lambda: tail.wake())  # noqa: PLW0108  it is made with the consumer
        tail = Tail(opening.tail, consumer, self._view, self._partitions, self._clock, self._metrics)
        self._tails.add(tail)
        tasks: list[asyncio.Task[None]] = []
        try:
            tenure.check_begin()
            await tail.open()
            tasks.append(asyncio.create_task(self._read(requests, consumer, None), name="bus tail requests"))
            tasks.append(asyncio.create_task(_run(tail, consumer), name="bus tail"))
            while (message := await consumer.next()) is not None:
                yield message
        finally:
            self._tails.discard(tail)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            tail.close()

    @staticmethod
    async def _read(requests: AsyncIterator[SubscribeRequest], consumer: Consumer, session: Session | None) -> None:
        try:
            async for request in requests:
                action = request.WhichOneof("action")
                if action == "credit":
                    consumer.grant(request.credit.records, request.credit.bytes)
                elif action == "settle" and session is not None:
                    await session.settle(request.settle)
                else:
                    rule = "must be the first request only" if action == "open" else "is nothing for a tail"
                    raise InvalidField([FieldViolation(action or "action", rule)])
            if session is not None:
                await session.finish()
            else:
                consumer.end()
        except Exception as error:  # noqa: BLE001  it is what the stream ends with
            consumer.end(error)


async def _run(tail: Tail, consumer: Consumer) -> None:
    try:
        await tail.run()
    except SiraError as error:
        consumer.end(under_way(error) if isinstance(error, NotOwner) else error)
