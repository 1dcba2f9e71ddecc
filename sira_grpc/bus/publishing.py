"""Takes records and frames from publishers."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence

from sira.bus.v1.publish_service_pb2 import (
    PublishedRecord,
    PublishFramesRequest,
    PublishFramesResponse,
    PublishRequest,
    PublishResponse,
)
from sira.bus.v1.record_pb2 import Record

from sira_grpc import fencing
from sira_grpc.bus import names
from sira_grpc.bus.accepting import accept, check_records, frame_of
from sira_grpc.bus.incoming import Incoming, Published
from sira_grpc.bus.partitions import Partitions
from sira_grpc.bus.quotas import Quotas
from sira_grpc.bus.tenure import RETRY_SECONDS, under_way
from sira_grpc.bus.view import BusView, TopicEntry
from sira_grpc.clock import Clock
from sira_grpc.commits import Commits
from sira_grpc.errors import FieldViolation, InvalidField, NotOwner, StoreUnavailable
from sira_grpc.store.budget import ByteBudget

FRAME_OVERHEAD_BYTES = 1024
"""What a frame under way costs besides its bytes."""


class Publishing:
    """The way in.

    Args:
        check_owner: raises NotOwner for a name in a namespace that another member serves.
        view, partitions: where records go.
        commits: looks again before a topic is refused that another member may have created.
        quotas: how much of them each publisher may send.
        clock: for what is scheduled.
        max_in_flight_bytes: of one stream.
    """

    def __init__(
        self,
        check_owner: Callable[[str], None],
        view: BusView,
        partitions: Partitions,
        commits: Commits,
        quotas: Quotas,
        clock: Clock,
        *,
        max_in_flight_bytes: int,
    ) -> None:
        self._check_owner = check_owner
        self._view = view
        self._partitions = partitions
        self._commits = commits
        self._quotas = quotas
        self._clock = clock
        self._max_in_flight_bytes = max_in_flight_bytes
        self._turns: dict[str, int] = {}
        view.hooks.topic_gone.append(self._forget)

    async def publish(self, request: PublishRequest, publisher: str) -> PublishResponse:
        """Stores records, those for one partition together.

        Raises:
            TopicNotFound, InvalidField, LimitExceeded, TopicFull: none of those for that partition was stored. With
                several partitions, those for others may have been.
            StoreUnavailable: likewise; or it is not known, or some of them were stored before another member took over.
            NotOwner: none was stored: another member serves the namespace.
            FencingTokenStale: nothing was stored.
        """
        self._check_owner(request.topic)
        topic = self._view.topics.get(request.topic) or await self._topic(request.topic)
        records = request.records
        groups = self._grouped(topic, records, request.partition if request.HasField("partition") else None)
        check_records(topic, records, self._clock)
        frames = {number: frame_of([records[i] for i in group]) for number, group in groups.items()}
        places = {number: await self._partitions.get(topic, number) for number in frames}
        size = sum(len(incoming.data) for incoming in frames.values())
        self._quotas.check(publisher, topic, len(records), size)
        await _check_fence()
        for number, incoming in frames.items():
            places[number].appender.put(incoming)
        await _all_stored(list(frames.values()))
        answers = [PublishedRecord()] * len(records)
        for number, group in groups.items():
            outcome = frames[number].done.result()
            for place, index in enumerate(group):
                answers[index] = _answer(number, place, outcome)
        return PublishResponse(records=answers, durability=topic.settings.durability)

    async def _topic(self, name: str) -> TopicEntry:
        return await self._commits.sure(lambda: self._view.topic(name))

    def _grouped(self, topic: TopicEntry, records: Sequence[Record], fixed: int | None) -> dict[int, list[int]]:
        """Returns which records go to which partition."""
        partitions = topic.settings.partitions
        if fixed is not None or partitions == 1:
            return {fixed or 0: list(range(len(records)))}
        groups: dict[int, list[int]] = {}
        keyless = -1
        for index, record in enumerate(records):
            if record.key:
                number = names.partition_of(record.key, partitions)
            else:
                if keyless < 0:
                    keyless = self.next_partition(topic)
                number = keyless
            groups.setdefault(number, []).append(index)
        return groups

    def next_partition(self, topic: TopicEntry) -> int:
        """Returns the partition whose turn it is to get records without a key."""
        turn = self._turns[topic.uid] = (self._turns.get(topic.uid, -1) + 1) % topic.settings.partitions
        return turn

    def _forget(self, topic: TopicEntry) -> None:
        self._turns.pop(topic.uid, None)

    async def stream(
        self, requests: AsyncIterator[PublishFramesRequest], publisher: str
    ) -> AsyncGenerator[PublishFramesResponse, None]:
        """Stores frames as they come, and answers each in turn.

        Frames are read ahead of the answers up to a size; then reading waits, and with it the publisher.

        Raises, after the answers to what was stored before:
            TopicNotFound, InvalidField, SequenceGap, TopicFull, FencingTokenStale, StoreUnavailable: the frame was not
                stored.
        """
        stream = _Stream(self._max_in_flight_bytes)
        reading = asyncio.create_task(self._read(requests, publisher, stream), name="bus publish")
        try:
            while (sent := await stream.next()) is not None:
                published = await sent.incoming.done
                stream.answered(sent)
                yield PublishFramesResponse(
                    partition=sent.partition,
                    offset=published.offset,
                    count=published.count,
                    durability=sent.topic.settings.durability,
                    duplicate=published.duplicate,
                )
            await reading
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)

    async def _read(self, requests: AsyncIterator[PublishFramesRequest], publisher: str, stream: _Stream) -> None:
        topic: TopicEntry | None = None
        begun = False
        name = producer_id = ""
        try:
            async for request in requests:
                name = request.topic or name
                producer_id = request.producer_id or producer_id
                if not name:
                    raise InvalidField([FieldViolation("topic", "must be set in the first request")])
                if topic is None or self._view.topics.get(name) is not topic:
                    self._check_owner(name)
                    topic = await self._topic(name)
                incoming = accept(
                    topic, request.frame, request.checksum, self._clock, producer_id=producer_id,
                    sequence=request.sequence,
                )  # fmt: skip
                place = await self._partitions.get(topic, request.partition)
                wait = self._quotas.take(publisher, topic, incoming.frame.count, len(incoming.data))
                if wait:
                    await asyncio.sleep(wait)
                await stream.room(incoming)
                await _check_fence()
                place.appender.put(incoming)
                begun = True
                stream.sent(_Sent(topic, request.partition, incoming))
        except NotOwner as error:
            if not begun:
                raise
            raise under_way(error) from error
        finally:
            stream.end()


class _Sent:
    """A frame that was handed over and is not answered."""

    __slots__ = ("incoming", "partition", "topic")

    def __init__(self, topic: TopicEntry, partition: int, incoming: Incoming) -> None:
        self.topic = topic
        self.partition = partition
        self.incoming = incoming


class _Stream:
    """The frames of one stream that are under way, in their order."""

    def __init__(self, max_bytes: int) -> None:
        self._budget = ByteBudget(max_bytes)
        self._queue: asyncio.Queue[_Sent | None] = asyncio.Queue()  # bounded by the budget

    async def room(self, incoming: Incoming) -> None:
        """Waits until a frame fits."""
        await self._budget.take(len(incoming.data) + FRAME_OVERHEAD_BYTES)

    def sent(self, sent: _Sent) -> None:
        """Notes a frame that was handed over."""
        self._queue.put_nowait(sent)

    def end(self) -> None:
        """Notes that no more will come."""
        self._queue.put_nowait(None)

    async def next(self) -> _Sent | None:
        """Returns the next one to answer; None after the last."""
        return await self._queue.get()

    def answered(self, sent: _Sent) -> None:
        """Gives its room back."""
        self._budget.give(len(sent.incoming.data) + FRAME_OVERHEAD_BYTES)


async def _all_stored(frames: Sequence[Incoming]) -> None:
    """Returns when all are stored, or raises what the first of the others met.

    NotOwner says that nothing was done, so that it can be done again elsewhere. If some of it was, it says too much.
    """
    if len(frames) == 1:  # as most often: gathering costs a tenth of what it takes to publish a record
        await frames[0].done
        return
    outcomes = await asyncio.gather(*(incoming.done for incoming in frames), return_exceptions=True)
    failures = [outcome for outcome in outcomes if isinstance(outcome, BaseException)]
    if not failures:
        return
    if len(failures) < len(frames) and isinstance(failures[0], NotOwner):
        raise StoreUnavailable(
            f"some of the records were stored, and the others not: {failures[0].message}", retry_after=RETRY_SECONDS
        ) from failures[0]
    raise failures[0]


async def _check_fence() -> None:
    """Asks whether the fencing tokens of the call are good, right before something is handed over to be stored.

    An append is no commit of the state: what was handed over is stored, though a lock goes on in the same moment.
    """
    guard = fencing.current()
    if guard is not None:
        await guard.verify()


def _answer(partition: int, place: int, published: Published) -> PublishedRecord:
    if published.offsets:
        duplicate = published.duplicates[place]
        return PublishedRecord(partition=partition, offset=published.offsets[place], duplicate=duplicate)
    offset = published.offset if published.offset < 0 else published.offset + place
    return PublishedRecord(partition=partition, offset=offset)
