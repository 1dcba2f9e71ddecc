"""Brings dead letters back, or removes them for good."""

from __future__ import annotations

import asyncio
from abc import abstractmethod
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Generic, TypeVar

from sira.bus.v1.dead_letter_pb2 import DeadLetter, DeadLetterReason
from sira.bus.v1.dead_letter_service_pb2 import (
    DeadLetterFilter,
    PurgeDeadLettersRequest,
    PurgeDeadLettersResponse,
    RedriveDeadLettersRequest,
    RedriveDeadLettersResponse,
)

from sira_grpc.bus import names
from sira_grpc.bus.dead_letter_log import StoredDeadLetter
from sira_grpc.bus.dead_letters import DeadLetters
from sira_grpc.bus.incoming import Incoming, Published
from sira_grpc.bus.redrive_batch import Batch, Place, Run, size_of
from sira_grpc.bus.tenure import under_way
from sira_grpc.bus.view import BusView, SubscriptionEntry
from sira_grpc.errors import KernelStopping, NotOwner, StoreUnavailable, TopicNotFound

DEFAULT_LIMIT = 1000
DEFAULT_MAX_REDRIVES = 3
PURGED_AT_ONCE = 1000
CORRUPT = DeadLetterReason.DEAD_LETTER_REASON_CORRUPT

Publish = Callable[[str, int | None, Incoming], Awaitable[Published]]
"""Stores a frame in a topic, by its name, and a partition of it; None where no record of it has a key: in any."""

Chosen = Sequence[tuple[StoredDeadLetter, DeadLetter | None]]
"""Dead letters that a filter chooses, with what can be read of them."""

A = TypeVar("A", RedriveDeadLettersResponse, PurgeDeadLettersResponse)


class Redriving:
    """The commands on dead letters.

    One at a time changes those of a subscription. A caller that goes away ends its command: what is being moved just
    then is moved, and the others stay.

    Args:
        view: says which topics there are.
        publish: see Publish.
    """

    def __init__(self, view: BusView, publish: Publish) -> None:
        self._view = view
        self._publish = publish
        self._commands: dict[asyncio.Task[Any], _Command[Any]] = {}

    async def redrive(
        self, subscription: SubscriptionEntry, letters: DeadLetters, request: RedriveDeadLettersRequest
    ) -> RedriveDeadLettersResponse:
        """Publishes dead letters again, each at least once, then removes them.

        A few at a time: a kernel that is killed in between redrives those twice.

        Raises:
            TopicNotFound: of the topic that they are to go to.
            TopicFull, StoreUnavailable: the others stay.
        """
        return await self._run(_Redrive(self._view, self._publish, subscription, letters, request))

    async def purge(self, letters: DeadLetters, request: PurgeDeadLettersRequest) -> PurgeDeadLettersResponse:
        """Removes dead letters.

        Raises:
            StoreUnavailable: the others stay.
        """
        return await self._run(_Purge(letters, request))

    async def _run(self, command: _Command[A]) -> A:
        task = asyncio.create_task(command.run(), name="bus dead letters")
        self._commands[task] = command
        task.add_done_callback(self._done)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            command.stopped = True
            raise

    def _done(self, task: asyncio.Task[Any]) -> None:
        del self._commands[task]
        if not task.cancelled():
            task.exception()  # the caller that went away is not there to hear it

    async def close(self) -> None:
        """Ends the commands under way, and waits for them."""
        while self._commands:
            for command in self._commands.values():
                command.stopped = True
            await asyncio.wait(self._commands)


class _Command(Generic[A]):
    """Looks for dead letters, takes those that there is something to do with, and does it with some at a time.

    Attributes:
        stopped: it is to end.
    """

    def __init__(self, letters: DeadLetters, wanted: DeadLetterFilter, limit: int, answer: A, *, dry_run: bool) -> None:
        self.stopped = False
        self._letters = letters
        self._wanted = wanted
        self._limit = limit or DEFAULT_LIMIT
        self._answer: A = answer
        self._dry_run = dry_run
        self._taken = 0

    async def run(self) -> A:
        """Does it, up to the limit."""
        if self._dry_run:
            await self._scan()
        else:
            async with self._letters.moving:
                await self._scan()
        return self._answer

    async def _scan(self) -> None:
        async with aclosing(self._letters.scan(self._wanted)) as steps:
            async for step in steps:
                await self._take_all(step.chosen)
                if self._answer.more:
                    break
        self._check_going_on()
        await self._finish_batch()

    async def _take_all(self, chosen: Chosen) -> None:
        for stored, letter in chosen:
            self._check_going_on()
            if self._taken == self._limit:
                self._answer.more = True
                return
            if self._take(stored, letter):
                self._taken += 1
            if self._full():
                await self._finish_batch()
        self._check_going_on()

    def _check_going_on(self) -> None:
        if self.stopped:
            raise KernelStopping("the kernel is stopping; what was done with dead letters stays done", retry_after=1.0)
        if self._letters.closing:
            raise StoreUnavailable("the dead letters are being closed; what was done stays done", retry_after=1.0)

    async def _finish_batch(self) -> None:
        if self._dry_run:
            self._count_batch()
        else:
            await self._move_batch()

    @abstractmethod
    def _take(self, stored: StoredDeadLetter, letter: DeadLetter | None) -> bool:
        """Takes a dead letter into the batch, unless it is to be left, and says whether it did."""

    @abstractmethod
    def _full(self) -> bool:
        """Whether the batch should take no more."""

    @abstractmethod
    def _count_batch(self) -> None:
        """Counts what would be done with the batch, and begins another."""

    @abstractmethod
    async def _move_batch(self) -> None:
        """Does with the batch what there is to do, counts it, and begins another."""


class _Purge(_Command[PurgeDeadLettersResponse]):
    def __init__(self, letters: DeadLetters, request: PurgeDeadLettersRequest) -> None:
        super().__init__(letters, request.filter, request.limit, PurgeDeadLettersResponse(), dry_run=request.dry_run)
        self._ids: list[int] = []

    def _take(self, stored: StoredDeadLetter, letter: DeadLetter | None) -> bool:
        self._ids.append(stored.id)
        return True

    def _full(self) -> bool:
        return len(self._ids) >= PURGED_AT_ONCE

    def _count_batch(self) -> None:
        self._answer.purged += len(self._ids)
        self._ids = []

    async def _move_batch(self) -> None:
        await self._letters.remove(self._ids)
        self._count_batch()


class _Redrive(_Command[RedriveDeadLettersResponse]):
    def __init__(
        self,
        view: BusView,
        publish: Publish,
        subscription: SubscriptionEntry,
        letters: DeadLetters,
        request: RedriveDeadLettersRequest,
    ) -> None:
        super().__init__(letters, request.filter, request.limit, RedriveDeadLettersResponse(), dry_run=request.dry_run)
        self._view = view
        self._publish = publish
        self._namespace = names.namespace_of(subscription.name)
        self._target = view.topic(request.topic) if request.topic else None
        self._only_for = "" if self._target else subscription.uid
        self._max_redrives = request.max_redrives or DEFAULT_MAX_REDRIVES
        self._batch = Batch()

    def _take(self, stored: StoredDeadLetter, letter: DeadLetter | None) -> bool:
        place = None if letter is None or letter.reason == CORRUPT else self._place(stored, letter)
        if letter is None or place is None:
            self._answer.impossible += 1
            return False
        if letter.redrives >= self._max_redrives:
            self._answer.guarded += 1
            return False
        self._batch.add(stored.id, letter, place)
        return True

    def _place(self, stored: StoredDeadLetter, letter: DeadLetter) -> Place | None:
        """Returns where a dead letter goes; None for nowhere."""
        target, key = self._target, letter.record.key
        if target is not None:
            if size_of(letter.record) > target.settings.max_record_bytes:
                return None
            return Place(target.name, target.uid, names.partition_of(key, target.settings.partitions) if key else None)
        topic = self._view.topics.get(names.topic_name(self._namespace, letter.topic))
        if topic is None or stored.log != names.log_of(topic.uid, letter.partition):
            return None
        return Place(topic.name, topic.uid, letter.partition)

    def _full(self) -> bool:
        return self._batch.full

    def _count_batch(self) -> None:
        self._answer.redriven += self._batch.count
        self._batch = Batch()

    async def _move_batch(self) -> None:
        batch, self._batch = self._batch, Batch()
        published: list[int] = []
        outcomes = await asyncio.gather(
            *(self._publish_all(place, runs, published) for place, runs in batch.lanes()), return_exceptions=True
        )
        await self._letters.remove(published)
        self._answer.redriven += len(published)
        for outcome in outcomes:
            if outcome is not None:
                raise under_way(outcome) if isinstance(outcome, NotOwner) else outcome

    async def _publish_all(self, place: Place, runs: Sequence[Run], published: list[int]) -> None:
        """Publishes what goes to one place, in order, and adds the ids of what has arrived."""
        for done, run in enumerate(runs):
            try:
                topic = self._view.topic(place.topic)
                if topic.uid != place.uid:
                    raise TopicNotFound(
                        f"{place.topic} was deleted, and created again", metadata={"resource": place.topic}
                    )
                await self._publish(place.topic, place.partition, run.incoming(self._only_for))
            except TopicNotFound:
                if self._target is not None:
                    raise
                self._answer.impossible += sum(len(left.ids) for left in runs[done:])
                return
            published += run.ids
