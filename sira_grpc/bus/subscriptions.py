"""The commands on subscriptions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Protocol

from google.protobuf.field_mask_pb2 import FieldMask
from sira.bus.internal.v1.subscription_record_pb2 import PartitionStart, SubscriptionRecord
from sira.bus.v1.subscription_pb2 import StartPosition, Subscription

from sira_grpc.bus import names
from sira_grpc.bus.janitor import delete_with_logs
from sira_grpc.bus.namespaces import Room, ServedNamespaces
from sira_grpc.bus.positions import check_position
from sira_grpc.bus.settings import SubscriptionSettings
from sira_grpc.bus.view import BusView, SubscriptionEntry, TopicEntry
from sira_grpc.clock import Clock
from sira_grpc.commits import Commits
from sira_grpc.config import BusConfig
from sira_grpc.errors import (
    AlreadyExists,
    FieldViolation,
    InvalidField,
    NotEmpty,
    SubscriptionNotFound,
    TopicNotFound,
)
from sira_grpc.etags import check_etag, with_etag
from sira_grpc.field_masks import overwrite
from sira_grpc.pages import take_page
from sira_grpc.rules import check_rules
from sira_grpc.store.api import ABSENT, Delete, Op, Put
from sira_grpc.times import timestamp

WRITABLE = ("description", "ack_timeout", "retry", "max_outstanding")
MAX_PARTITIONS = 4_096
"""Partitions that a subscription may begin in: where it begins in each is part of its record."""
UID_BYTES = 8
LATEST = StartPosition(latest=StartPosition.Latest())

Starts = Mapping[tuple[str, int], int]
"""The first offset that counts, by uid of the topic and partition."""
_NOWHERE: Starts = {}


class Positions(Protocol):
    """Places in topics."""

    async def offset(self, topic: TopicEntry, partition: int, position: StartPosition) -> int:
        """Returns the offset that a position stands for in a partition now.

        Raises:
            TopicNotFound: the topic was deleted meanwhile.
        """


class DeadLetters(Protocol):
    """The dead letters that there are."""

    async def dead_letters(self, subscription: SubscriptionEntry) -> int:
        """Counts the dead letters of a subscription."""


class Subscriptions:
    """Creates, changes, lists and deletes subscriptions, in namespaces that this member serves."""

    def __init__(
        self,
        view: BusView,
        commits: Commits,
        namespaces: ServedNamespaces,
        positions: Positions,
        dead_letters: DeadLetters,
        config: BusConfig,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._view = view
        self._commits = commits
        self._namespaces = namespaces
        self._positions = positions
        self._dead_letters = dead_letters
        self._clock = clock
        self._random_bytes = random_bytes
        limit = config.max_subscriptions_per_namespace
        self._room = Room("bus.max_subscriptions_per_namespace", limit, view.subscriptions_in)

    async def create(self, subscription: Subscription) -> SubscriptionEntry:
        """Creates a subscription in a namespace that exists. The topics need not be there yet.

        Raises:
            AlreadyExists, NamespaceNotFound, LimitExceeded.
            InvalidField: it matches too many partitions, begins in a topic or partition that it does not read, or at
                what is no time, or its back-off has no room.
        """
        self._namespaces.check_owner(subscription.name)
        if not subscription.topics:
            raise InvalidField([FieldViolation("subscription.topics", "must have at least 1 item")])
        _check_backoff(subscription)
        check_position(subscription.start, "subscription.start")
        return await self._commits.run(self._create(subscription))

    async def _create(self, subscription: Subscription) -> SubscriptionEntry:
        name = subscription.name
        namespace = names.namespace_of(name)
        uid, message = self._random_bytes(UID_BYTES).hex(), Subscription()

        def check() -> None:
            self._namespaces.namespace(namespace)
            if name in self._view.subscriptions:
                raise AlreadyExists(f"{name} is there already", metadata={"resource": name})

        await self._commits.sure(check)
        with self._namespaces.keeping(namespace), self._room.one_more(namespace):
            starts = await self._starts(subscription)

            def plan() -> list[Op]:
                check()
                message.CopyFrom(subscription)
                message.ClearField("paused")
                message.create_time.CopyFrom(timestamp(self._clock.time_ns()))
                return [self._put(message, uid, starts, ABSENT)]

            revision = await self._commits.apply(plan)
        return _written(message, uid, starts, revision)

    async def _starts(self, subscription: Subscription) -> Starts:
        """Where it begins in the partitions that are there."""
        patterns = SubscriptionSettings.of(subscription).patterns
        topics = self._view.matching(names.namespace_of(subscription.name), patterns)
        partitions = [(topic, partition) for topic in topics for partition in range(topic.settings.partitions)]
        if len(partitions) > MAX_PARTITIONS:
            rule = f"they have {len(partitions)} partitions, more than {MAX_PARTITIONS}"
            raise InvalidField([FieldViolation("subscription.topics", rule)])
        position = subscription.start if subscription.HasField("start") else LATEST
        if position.HasField("offset"):
            _check_place(position, partitions)
        starts: dict[tuple[str, int], int] = {}
        for topic, partition in partitions:
            here = position if _concerns(position, topic, partition) else LATEST
            with suppress(TopicNotFound):  # deleted meanwhile
                starts[topic.uid, partition] = await self._positions.offset(topic, partition, here)
        return starts

    def _put(self, message: Subscription, uid: str, starts: Starts, expected: int) -> Put:
        message.ClearField("etag")
        message.ClearField("status")
        message.update_time.CopyFrom(timestamp(self._clock.time_ns()))
        record = SubscriptionRecord(
            subscription=message,
            uid=uid,
            starts=[
                PartitionStart(topic_uid=topic_uid, partition=partition, offset=offset)
                for (topic_uid, partition), offset in starts.items()
            ],
        )
        return Put(names.subscription_key(message.name), record.SerializeToString(), expected)

    async def update(self, subscription: Subscription, mask: FieldMask) -> SubscriptionEntry:
        """Writes the masked fields of a subscription.

        Raises:
            SubscriptionNotFound, EtagMismatch, InvalidFieldMask.
            InvalidField: what comes out of it breaks a rule.
        """
        name, message = subscription.name, Subscription()
        uid, starts = "", _NOWHERE
        self._namespaces.check_owner(name)

        def plan() -> list[Op]:
            nonlocal uid, starts
            entry = self._view.subscription(name)
            check_etag(subscription.etag, entry.revision, name)
            uid, starts = entry.uid, entry.starts
            message.CopyFrom(entry.message)
            overwrite(message, subscription, mask, WRITABLE)
            check_rules(message, within="subscription")  # a mask may take half of what is right as a whole only
            _check_backoff(message)
            return [self._put(message, uid, starts, entry.revision)]

        revision = await self._commits.run(self._commits.apply(plan))
        return _written(message, uid, starts, revision)

    async def pause(self, name: str) -> SubscriptionEntry:
        """Stops delivery until resume(). Doing it again changes nothing. Raises: SubscriptionNotFound."""
        return await self._set_paused(name, paused=True)

    async def resume(self, name: str) -> SubscriptionEntry:
        """Goes on with delivery. Doing it again changes nothing. Raises: SubscriptionNotFound."""
        return await self._set_paused(name, paused=False)

    async def _set_paused(self, name: str, *, paused: bool) -> SubscriptionEntry:
        self._namespaces.check_owner(name)
        message = Subscription()
        uid, starts, unchanged = "", _NOWHERE, 0

        def plan() -> list[Op]:
            nonlocal uid, starts, unchanged
            entry = self._view.subscription(name)
            uid, starts, unchanged = entry.uid, entry.starts, 0
            message.CopyFrom(entry.message)
            if message.paused == paused:
                unchanged = entry.revision
                return []
            message.paused = paused
            return [self._put(message, uid, starts, entry.revision)]

        revision = await self._commits.run(self._commits.apply(plan))
        return _written(message, uid, starts, unchanged or revision)

    async def delete(self, name: str, *, etag: str, force: bool) -> None:
        """Deletes a subscription, with what it has settled, and, with force, its dead letters.

        Raises:
            SubscriptionNotFound, EtagMismatch.
            NotEmpty: it has dead letters.
        """
        self._namespaces.check_owner(name)
        await self._commits.run(self._delete(name, etag, force=force))

    async def clear(self, name: str) -> None:
        """Deletes a subscription with all that is in it, whichever member serves it: that one sees it go.

        Raises:
            SubscriptionNotFound.
        """
        await self._commits.run(self._delete(name, "", force=True))

    async def _delete(self, name: str, etag: str, *, force: bool) -> None:
        def checked() -> SubscriptionEntry:
            entry = self._view.subscription(name)
            check_etag(etag, entry.revision, name)
            return entry

        entry = await self._commits.sure(checked)
        dead = 0 if force else await self._dead_letters.dead_letters(entry)
        if dead:
            raise NotEmpty(
                f"{name} has {dead} dead letters; delete with force to remove them too", metadata={"resource": name}
            )

        def delete() -> Delete:
            if self._view.subscription(name) is not entry:
                raise SubscriptionNotFound(f"{name} was deleted, and created again", metadata={"resource": name})
            check_etag(etag, entry.revision, name)
            return Delete(names.subscription_key(name), entry.revision)

        await delete_with_logs(self._commits, names.namespace_of(name), entry.uid, self._logs(entry), delete)

    def _logs(self, entry: SubscriptionEntry) -> list[str]:
        topics = self._view.matching(names.namespace_of(entry.name), entry.settings.patterns)
        settled = [
            names.settlements_of(entry.uid, topic.uid, partition)
            for topic in topics
            for partition in range(topic.settings.partitions)
        ]
        return [*settled, names.dead_of(entry.uid), names.dead_removed_of(entry.uid)]

    async def list(self, parent: str, *, size: int, token: str) -> tuple[list[Subscription], str]:
        """Lists the subscriptions of a namespace by name.

        Raises:
            NamespaceNotFound, InvalidPageToken.
        """
        self._namespaces.check_owner(parent)
        await self._commits.sure(lambda: self._namespaces.namespace(parent))
        subscriptions = self._view.subscriptions_in(parent)

        def load(name: str) -> Subscription | None:
            entry = subscriptions.get(name)
            return entry.message if entry is not None else None

        query = f"{Subscription.DESCRIPTOR.full_name} {parent}"
        return await take_page(subscriptions, load, None, size=size, token=token, query=query)


def _written(message: Subscription, uid: str, starts: Starts, revision: int) -> SubscriptionEntry:
    """Returns a subscription as a command has left it, whoever has written it since, or deleted it."""
    return SubscriptionEntry(with_etag(message, revision), uid, starts, revision, SubscriptionSettings.of(message))


def _check_backoff(subscription: Subscription) -> None:
    settings = SubscriptionSettings.of(subscription)
    if settings.min_backoff > settings.max_backoff:
        rule = f"must be at least min_backoff, {settings.min_backoff:g} s; it is {settings.max_backoff:g} s"
        raise InvalidField([FieldViolation("subscription.retry.max_backoff", rule)])


def _check_place(position: StartPosition, partitions: list[tuple[TopicEntry, int]]) -> None:
    """Refuses an offset in a partition that is not among those that are read."""
    place = position.offset
    counts = {names.short(topic.name): topic.settings.partitions for topic, _ in partitions}
    if place.topic not in counts:
        rule = f"{place.topic!r} is none of the topics that it reads and that are there"
        raise InvalidField([FieldViolation("subscription.start.offset.topic", rule)])
    if place.partition >= counts[place.topic]:
        rule = f"{place.topic} has the partitions 0 to {counts[place.topic] - 1}"
        raise InvalidField([FieldViolation("subscription.start.offset.partition", rule)])


def _concerns(position: StartPosition, topic: TopicEntry, partition: int) -> bool:
    """Whether a position says where to begin in a partition: an offset is of one alone."""
    place = position.offset
    return not position.HasField("offset") or (place.topic, place.partition) == (names.short(topic.name), partition)
