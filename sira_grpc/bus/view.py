"""The bus as this member sees it: the topics and subscriptions of the store, in memory."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass, field
from functools import partial
from typing import Generic, TypeVar

from sira.bus.internal.v1.subscription_record_pb2 import SubscriptionRecord
from sira.bus.internal.v1.topic_record_pb2 import TopicRecord, TrashRecord
from sira.bus.v1.subscription_pb2 import Subscription
from sira.bus.v1.topic_pb2 import Topic

from sira_grpc.bus import names
from sira_grpc.bus.names import Pattern
from sira_grpc.bus.settings import SubscriptionSettings, TopicSettings
from sira_grpc.errors import SubscriptionNotFound, TopicNotFound
from sira_grpc.progress import Progress
from sira_grpc.store.api import Change, Commit, Snapshot


@dataclass(slots=True, eq=False)
class TopicEntry:
    """A topic. The message, with its etag, is what readers get. One that is created again is another entry."""

    message: Topic
    uid: str
    revision: int
    settings: TopicSettings

    @property
    def name(self) -> str:
        """`namespaces/{namespace}/topics/{topic}`."""
        return self.message.name


@dataclass(slots=True, eq=False)
class SubscriptionEntry:
    """A subscription. The message, with its etag, is what readers get. One that is created again is another entry.

    Attributes:
        starts: the first offset that counts, by uid of the topic and partition; where there is none, all count.
    """

    message: Subscription
    uid: str
    starts: Mapping[tuple[str, int], int]
    revision: int
    settings: SubscriptionSettings

    @property
    def name(self) -> str:
        """`namespaces/{namespace}/subscriptions/{subscription}`."""
        return self.message.name


@dataclass(frozen=True, slots=True)
class Trash:
    """Logs that are to be deleted: what they belonged to is gone, or will be."""

    logs: tuple[str, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class Owner:
    """The member that serves a namespace, and the revision at which it took it."""

    member: str
    revision: int


@dataclass(slots=True)
class ViewHooks:
    """Called on the event loop once a commit is in the view, in the order of its changes; they must not block.

    What load() finds is not told.

    topic_written: a topic is new, or changed.
    topic_gone: a topic was deleted. One that is created again is gone before it is written.
    subscription_written, subscription_gone: likewise.
    trash_written: there are logs to delete.
    owner_written: a namespace, by its name, has another owner, or none.
    """

    topic_written: list[Callable[[TopicEntry], None]] = field(default_factory=list)
    topic_gone: list[Callable[[TopicEntry], None]] = field(default_factory=list)
    subscription_written: list[Callable[[SubscriptionEntry], None]] = field(default_factory=list)
    subscription_gone: list[Callable[[SubscriptionEntry], None]] = field(default_factory=list)
    trash_written: list[Callable[[str], None]] = field(default_factory=list)
    owner_written: list[Callable[[str], None]] = field(default_factory=list)


E = TypeVar("E", TopicEntry, SubscriptionEntry)


class _Index(Generic[E]):
    """Entries by all that they are looked up by."""

    def __init__(self) -> None:
        self.by_name: dict[str, E] = {}
        self.by_uid: dict[str, E] = {}
        self.by_namespace: defaultdict[str, dict[str, E]] = defaultdict(dict)

    def add(self, entry: E) -> None:
        """Takes an entry in."""
        name = entry.name
        self.by_name[name] = self.by_uid[entry.uid] = self.by_namespace[names.namespace_of(name)][name] = entry

    def remove(self, entry: E) -> None:
        """Takes an entry out."""
        name, namespace = entry.name, names.namespace_of(entry.name)
        del self.by_name[name], self.by_uid[entry.uid], self.by_namespace[namespace][name]
        if not self.by_namespace[namespace]:
            del self.by_namespace[namespace]


class BusView:
    """Topics and subscriptions by name, trash by its id, owners by namespace. Changed only by load() and apply()."""

    def __init__(self) -> None:
        self._topics = _Index[TopicEntry]()
        self._subscriptions = _Index[SubscriptionEntry]()
        self.topics = self._topics.by_name
        self.topics_by_uid = self._topics.by_uid
        self.subscriptions = self._subscriptions.by_name
        self.subscriptions_by_uid = self._subscriptions.by_uid
        self.trash: dict[str, Trash] = {}
        self.owners: dict[str, Owner] = {}
        self.hooks = ViewHooks()
        self._progress = Progress()
        self._calls: list[Callable[[], None]] = []
        self._appliers: dict[str, Callable[[Change], None]] = {
            names.TOPICS: self._apply_topic,
            names.SUBSCRIPTIONS: self._apply_subscription,
            names.TRASH: self._apply_trash,
            names.OWNERS: self._apply_owner,
        }

    @property
    def revision(self) -> int:
        """Everything up to it is in the view."""
        return self._progress.revision

    def topic(self, name: str) -> TopicEntry:
        """Returns a topic or raises TopicNotFound."""
        entry = self.topics.get(name)
        if entry is None:
            raise TopicNotFound(f"{name} is not there", metadata={"resource": name})
        return entry

    def subscription(self, name: str) -> SubscriptionEntry:
        """Returns a subscription or raises SubscriptionNotFound."""
        entry = self.subscriptions.get(name)
        if entry is None:
            raise SubscriptionNotFound(f"{name} is not there", metadata={"resource": name})
        return entry

    def topics_in(self, namespace: str) -> Mapping[str, TopicEntry]:
        """Returns the topics of a namespace by name."""
        return self._topics.by_namespace.get(namespace, {})

    def subscriptions_in(self, namespace: str) -> Mapping[str, SubscriptionEntry]:
        """Returns the subscriptions of a namespace by name."""
        return self._subscriptions.by_namespace.get(namespace, {})

    def namespaces(self) -> Set[str]:
        """Returns the names of the namespaces that have topics or subscriptions."""
        return self._topics.by_namespace.keys() | self._subscriptions.by_namespace.keys()

    def matching(self, namespace: str, patterns: Iterable[Pattern]) -> list[TopicEntry]:
        """Returns the topics of a namespace that match one of the patterns, each once."""
        wanted = tuple(patterns)
        return [
            entry
            for name, entry in self.topics_in(namespace).items()
            if any(pattern.matches(names.short(name)) for pattern in wanted)
        ]

    def subscriptions_of(self, topic: TopicEntry) -> list[SubscriptionEntry]:
        """Returns the subscriptions that read a topic."""
        short = names.short(topic.name)
        return [
            entry
            for entry in self.subscriptions_in(names.namespace_of(topic.name)).values()
            if entry.settings.reads(short)
        ]

    def load(self, snapshot: Snapshot) -> None:
        """Fills an empty view, without a call of the hooks."""
        for entry in snapshot.entries:
            self._apply(Change(entry.key, entry.value, entry.revision))
        for subscription in self.subscriptions.values():
            subscription.starts = {at: n for at, n in subscription.starts.items() if not self._is_in_memory(at[0])}
        self._calls.clear()
        self._progress.advance(snapshot.revision)

    def _is_in_memory(self, topic_uid: str) -> bool:
        """Whether a topic was emptied when the kernel ended: its offsets begin anew, and whoever reads it does too."""
        topic = self.topics_by_uid.get(topic_uid)
        return topic is not None and topic.settings.in_memory

    def apply(self, commit: Commit) -> None:
        """Applies a commit, wakes who waits for its revision, and calls the hooks."""
        for change in commit.changes:
            self._apply(change)
        self._progress.advance(commit.revision)
        calls, self._calls = self._calls, []
        for call in calls:
            call()

    async def caught_up(self, revision: int) -> None:
        """Returns once everything up to a revision is in the view.

        Raises:
            KernelStopping: the view was closed before.
        """
        await self._progress.reached(revision)

    def close(self) -> None:
        """Notes that nothing is applied any more."""
        self._progress.close()

    def _apply(self, change: Change) -> None:
        if not change.key.startswith(names.PREFIX):
            return
        for prefix, apply in self._appliers.items():  # a newer member may write kinds that this one does not know
            if change.key.startswith(prefix):
                apply(change)

    def _apply_topic(self, change: Change) -> None:
        entry = self.topics.get(names.topic_of_key(change.key))
        if entry is not None and change.revision <= entry.revision:
            return  # the snapshot was newer
        record = None if change.value is None else TopicRecord.FromString(change.value)
        if entry is not None and (record is None or record.uid != entry.uid):
            self._topics.remove(entry)
            self._calls.extend(partial(hook, entry) for hook in self.hooks.topic_gone)
            entry = None
        if record is None:
            return
        message = record.topic
        message.etag = str(change.revision)
        settings = TopicSettings.of(message)
        if entry is None:
            entry = TopicEntry(message, record.uid, change.revision, settings)
            self._topics.add(entry)
        else:
            entry.message, entry.revision, entry.settings = message, change.revision, settings
        self._calls.extend(partial(hook, entry) for hook in self.hooks.topic_written)

    def _apply_subscription(self, change: Change) -> None:
        entry = self.subscriptions.get(names.subscription_of_key(change.key))
        if entry is not None and change.revision <= entry.revision:
            return  # the snapshot was newer
        record = None if change.value is None else SubscriptionRecord.FromString(change.value)
        if entry is not None and (record is None or record.uid != entry.uid):
            self._subscriptions.remove(entry)
            self._calls.extend(partial(hook, entry) for hook in self.hooks.subscription_gone)
            entry = None
        if record is None:
            return
        message = record.subscription
        message.etag = str(change.revision)
        settings = SubscriptionSettings.of(message)
        if entry is None:
            starts = {(start.topic_uid, start.partition): start.offset for start in record.starts}
            entry = SubscriptionEntry(message, record.uid, starts, change.revision, settings)
            self._subscriptions.add(entry)
        else:
            entry.message, entry.revision, entry.settings = message, change.revision, settings
        self._calls.extend(partial(hook, entry) for hook in self.hooks.subscription_written)

    def _apply_trash(self, change: Change) -> None:
        trash = change.key.removeprefix(names.TRASH)
        if change.value is None:
            self.trash.pop(trash, None)
            return
        self.trash[trash] = Trash(tuple(TrashRecord.FromString(change.value).logs), change.revision)
        self._calls.extend(partial(hook, trash) for hook in self.hooks.trash_written)

    def _apply_owner(self, change: Change) -> None:
        namespace = names.owned_by_key(change.key)
        held = self.owners.get(namespace)
        if held is not None and change.revision <= held.revision:
            return  # the snapshot was newer
        if change.value is None:
            self.owners.pop(namespace, None)
        else:
            self.owners[namespace] = Owner(change.value.decode(), change.revision)
        self._calls.extend(partial(hook, namespace) for hook in self.hooks.owner_written)
