"""The commands on topics."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from google.protobuf.field_mask_pb2 import FieldMask
from sira.bus.internal.v1.topic_record_pb2 import TopicRecord
from sira.bus.v1.topic_pb2 import Durability, Topic

from sira_grpc.bus import names
from sira_grpc.bus.janitor import delete_with_logs
from sira_grpc.bus.names import Pattern
from sira_grpc.bus.namespaces import Room, ServedNamespaces
from sira_grpc.bus.settings import TopicSettings
from sira_grpc.bus.view import BusView, TopicEntry
from sira_grpc.clock import Clock
from sira_grpc.commits import Commits
from sira_grpc.config import BusConfig
from sira_grpc.errors import AlreadyExists, FieldViolation, InvalidField, NotEmpty, TopicNotFound
from sira_grpc.etags import check_etag, with_etag
from sira_grpc.field_masks import overwrite
from sira_grpc.pages import take_page
from sira_grpc.rules import check_rules
from sira_grpc.store.api import ABSENT, Delete, Op, Put
from sira_grpc.times import timestamp

WRITABLE = ("description", "retention", "compaction", "limits", "deduplication_window")
MAX_NAME = 200
"""Characters in the name of a topic, its namespace aside."""
UID_BYTES = 8


class Holdings(Protocol):
    """What topics hold."""

    async def records(self, topic: TopicEntry) -> int:
        """Counts the records of a topic that are kept, and those that wait for their deliver_at."""


class Topics:
    """Creates, changes, lists and deletes topics, in namespaces that this member serves."""

    def __init__(
        self,
        view: BusView,
        commits: Commits,
        namespaces: ServedNamespaces,
        holdings: Holdings,
        config: BusConfig,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._view = view
        self._commits = commits
        self._namespaces = namespaces
        self._holdings = holdings
        self._clock = clock
        self._random_bytes = random_bytes
        self._room = Room("bus.max_topics_per_namespace", config.max_topics_per_namespace, view.topics_in)

    async def create(self, topic: Topic) -> TopicEntry:
        """Creates a topic in a namespace that exists.

        Raises:
            AlreadyExists, NamespaceNotFound, LimitExceeded.
            InvalidField: its name is too long, or it is to be compacted in memory.
        """
        name = topic.name
        self._namespaces.check_owner(name)
        if len(names.short(name)) > MAX_NAME:
            raise InvalidField([FieldViolation("topic.name", f"the topic must be at most {MAX_NAME} characters")])
        namespace = names.namespace_of(name)
        uid, message = self._random_bytes(UID_BYTES).hex(), Topic()

        def check() -> None:
            self._namespaces.namespace(namespace)
            if name in self._view.topics:
                raise AlreadyExists(f"{name} is there already", metadata={"resource": name})

        def plan() -> list[Op]:
            check()
            message.CopyFrom(topic)
            message.create_time.CopyFrom(timestamp(self._clock.time_ns()))
            return [self._put(message, uid, ABSENT)]

        async def create() -> int:
            await self._commits.sure(check)  # is told rather than that there is no room
            with self._namespaces.keeping(namespace), self._room.one_more(namespace):
                return await self._commits.apply(plan)

        return _written(message, uid, await self._commits.run(create()))

    def _put(self, message: Topic, uid: str, expected: int) -> Put:
        if message.HasField("compaction") and message.durability == Durability.DURABILITY_MEMORY:
            raise InvalidField([FieldViolation("topic.compaction", "must not be set with durability MEMORY")])
        message.ClearField("etag")
        message.ClearField("status")
        message.update_time.CopyFrom(timestamp(self._clock.time_ns()))
        record = TopicRecord(topic=message, uid=uid)
        return Put(names.topic_key(message.name), record.SerializeToString(), expected)

    async def update(self, topic: Topic, mask: FieldMask) -> TopicEntry:
        """Writes the masked fields of a topic.

        Raises:
            TopicNotFound, EtagMismatch, InvalidFieldMask.
            InvalidField: what comes out of it breaks a rule.
        """
        name, message, uid = topic.name, Topic(), ""
        self._namespaces.check_owner(name)

        def plan() -> list[Op]:
            nonlocal uid
            entry = self._view.topic(name)
            check_etag(topic.etag, entry.revision, name)
            uid = entry.uid
            message.CopyFrom(entry.message)
            overwrite(message, topic, mask, WRITABLE)
            check_rules(message, within="topic")  # a mask may take half of what is right as a whole only
            return [self._put(message, entry.uid, entry.revision)]

        revision = await self._commits.run(self._commits.apply(plan))
        return _written(message, uid, revision)

    async def delete(self, name: str, *, etag: str, force: bool) -> None:
        """Deletes a topic and, with force, its records, with what subscriptions have settled in it.

        Raises:
            TopicNotFound, EtagMismatch.
            NotEmpty: it has records.
        """
        self._namespaces.check_owner(name)
        await self._commits.run(self._delete(name, etag, force=force))

    async def clear(self, name: str) -> None:
        """Deletes a topic with all that is in it, whichever member serves it: that one sees it go.

        Raises:
            TopicNotFound.
        """
        await self._commits.run(self._delete(name, "", force=True))

    async def _delete(self, name: str, etag: str, *, force: bool) -> None:
        def checked() -> TopicEntry:
            entry = self._view.topic(name)
            check_etag(etag, entry.revision, name)
            return entry

        entry = await self._commits.sure(checked)
        records = 0 if force else await self._holdings.records(entry)
        if records:
            raise NotEmpty(
                f"{name} has {records} records; delete with force to remove them too", metadata={"resource": name}
            )

        def delete() -> Delete:
            if self._view.topic(name) is not entry:
                raise TopicNotFound(f"{name} was deleted, and created again", metadata={"resource": name})
            check_etag(etag, entry.revision, name)
            return Delete(names.topic_key(name), entry.revision)

        await delete_with_logs(self._commits, names.namespace_of(name), entry.uid, self._logs(entry), delete)

    def _logs(self, entry: TopicEntry) -> list[str]:
        uid, partitions = entry.uid, range(entry.settings.partitions)
        subscriptions = self._view.subscriptions_of(entry)
        settled = [names.settlements_of(reader.uid, uid, p) for reader in subscriptions for p in partitions]
        return settled + [log for p in partitions for log in names.logs_of(uid, p)]

    async def list(self, parent: str, *, pattern: str, size: int, token: str) -> tuple[list[Topic], str]:
        """Lists the topics of a namespace by name, those that match a pattern if there is one.

        Raises:
            NamespaceNotFound, InvalidPageToken.
        """
        self._namespaces.check_owner(parent)
        await self._commits.sure(lambda: self._namespaces.namespace(parent))
        topics = self._view.topics_in(parent)

        def load(name: str) -> Topic | None:
            entry = topics.get(name)
            return entry.message if entry is not None else None

        wanted = Pattern(pattern)
        return await take_page(
            topics,
            load,
            (lambda topic: wanted.matches(names.short(topic.name))) if pattern else None,
            size=size,
            token=token,
            query=f"{Topic.DESCRIPTOR.full_name} {parent} {pattern}",
        )


def _written(message: Topic, uid: str, revision: int) -> TopicEntry:
    """Returns a topic as a command has left it, whoever has written it since, or deleted it."""
    return TopicEntry(with_etag(message, revision), uid, revision, TopicSettings.of(message))
