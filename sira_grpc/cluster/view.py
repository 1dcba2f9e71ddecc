"""The cluster as this member sees it: the records of members and duties, in memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from sira.cluster.internal.v1.member_record_pb2 import DutyRecord, MemberRecord, SecretRecord

from sira_grpc.cluster import names
from sira_grpc.progress import Progress
from sira_grpc.store.api import Change, Commit, Snapshot


@dataclass(frozen=True, slots=True)
class MemberEntry:
    """What a member has written of itself."""

    member: str
    record: MemberRecord
    revision: int


@dataclass(frozen=True, slots=True)
class DutyEntry:
    """Who has a duty."""

    member: str
    term: int
    revision: int


class ClusterView:
    """Members and duties by their ids. Changed only by load() and apply().

    The hooks are called on the event loop once a commit is in the view, in the order of its changes; they must not
    block. What load() finds is not told.

    Attributes:
        secret: what members sign with; None while there is none.
        member_written: a member has written its record.
        member_gone: a member's record was deleted; with its id.
        duty_changed: a duty has another holder, or none; with its name.
    """

    def __init__(self) -> None:
        self.members: dict[str, MemberEntry] = {}
        self.duties: dict[str, DutyEntry] = {}
        self.secret: bytes | None = None
        self.member_written: list[Callable[[MemberEntry], None]] = []
        self.member_gone: list[Callable[[str], None]] = []
        self.duty_changed: list[Callable[[str], None]] = []
        self._progress = Progress()
        self._calls: list[Callable[[], None]] = []

    @property
    def revision(self) -> int:
        """Everything up to it is in the view."""
        return self._progress.revision

    def load(self, snapshot: Snapshot) -> None:
        """Fills an empty view, without a call of the hooks."""
        for entry in snapshot.entries:
            self._apply(Change(entry.key, entry.value, entry.revision))
        self._calls.clear()
        self._progress.advance(snapshot.revision)

    def apply(self, commit: Commit) -> None:
        """Applies a commit, wakes who waits for its revision, and calls the hooks."""
        for change in commit.changes:
            if change.key.startswith(names.PREFIX):
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
        # A newer member may write kinds that this one does not know.
        if change.key.startswith(names.MEMBERS):
            self._apply_member(change.key.removeprefix(names.MEMBERS), change)
        elif change.key.startswith(names.DUTIES):
            self._apply_duty(change.key.removeprefix(names.DUTIES), change)
        elif change.key == names.SECRET:
            self.secret = None if change.value is None else SecretRecord.FromString(change.value).key

    def _apply_member(self, member: str, change: Change) -> None:
        entry = self.members.get(member)
        if entry is not None and change.revision <= entry.revision:
            return  # the snapshot was newer
        if change.value is not None:
            entry = self.members[member] = MemberEntry(member, MemberRecord.FromString(change.value), change.revision)
            self._calls.extend(partial(hook, entry) for hook in self.member_written)
        elif entry is not None:
            del self.members[member]
            self._calls.extend(partial(hook, member) for hook in self.member_gone)

    def _apply_duty(self, duty: str, change: Change) -> None:
        entry = self.duties.get(duty)
        if entry is not None and change.revision <= entry.revision:
            return  # the snapshot was newer
        if change.value is not None:
            record = DutyRecord.FromString(change.value)
            self.duties[duty] = DutyEntry(record.member, record.term, change.revision)
        else:
            self.duties.pop(duty, None)
        self._calls.extend(partial(hook, duty) for hook in self.duty_changed)
