"""The registry as this member sees it: an image of the store in memory, from which every read is answered."""

from __future__ import annotations

from sira_grpc.clock import Clock
from sira_grpc.progress import Progress
from sira_grpc.registry import names
from sira_grpc.registry.changes import ChangeApplier, ViewHooks
from sira_grpc.registry.resources import Resources
from sira_grpc.store.api import Change, Commit, Snapshot


class RegistryView(Resources):
    """Namespaces, services, endpoints and leases by name. Changed only by load() and apply()."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self.compacted = 0
        self.hooks = ViewHooks()
        self._applier = ChangeApplier(self, self.hooks)
        self._progress = Progress()
        self._generation = 0
        self._ahead: dict[str, int] = {}  # keys of which the snapshot held more than its revision says

    @property
    def revision(self) -> int:
        """Everything up to it is in the view."""
        return self._progress.revision

    def load(self, snapshot: Snapshot, *, compacted: int) -> None:
        """Fills an empty view. Resources come in the order in which they hang on each other."""
        self.compacted = compacted
        order = {
            kind: i for i, kind in enumerate(("namespaces", "services", "leases", "endpoints", "health", "drains"))
        }
        rows = sorted(snapshot.entries, key=lambda e: order.get(e.key.split("/", 2)[1], len(order)))
        held = [(e.key, e.revision) for e in snapshot.entries]
        self._ahead = {key: at for key, at in (*held, *snapshot.deleted) if at > snapshot.revision}
        self._applier.apply((Change(e.key, e.value, e.revision) for e in rows), live=False)
        self._progress.advance(snapshot.revision)
        for key, revision in sorted(snapshot.deleted, key=lambda deleted: deleted[1]):
            self._note_deleted(key, revision)
        for service in self.services.values():
            service.feed.compacted = max(service.feed.compacted, compacted)
            service.feed.settle()

    def _note_deleted(self, key: str, revision: int) -> None:
        """Has readers who resume told of a deletion: of an endpoint, or of a record that its status came from."""
        _, kind, path = key.split("/", 2)
        if kind not in ("endpoints", "health", "drains"):
            return
        name = names.name_of_path(path)
        service = self.services.get(names.service_of(name))
        if service is None:
            return
        if name in service.endpoints:
            service.feed.touch(name, revision)
        elif kind == "endpoints":
            service.feed.bury(name, revision)

    def apply(self, commit: Commit) -> None:
        """Applies a commit, wakes who watches what it touched and who waits for its revision."""
        for hook in self.hooks.applied:
            hook()
        now = self._clock.monotonic()
        changes = commit.changes
        if self._ahead:
            changes = tuple(c for c in changes if c.revision > self._ahead.get(c.key, 0))
            self._ahead = {key: at for key, at in self._ahead.items() if at > commit.revision}
        touched = self._applier.apply(changes, live=True)
        for service in touched:
            self._generation += 1  # over all services, so that one that is created anew repeats none
            service.generation = self._generation
            service.feed.publish(now)
        if touched or self._applier.gone:
            changed = {service.message.name for service in touched} | self._applier.gone
            for told in self.hooks.services_changed:
                told(changed)
        self._progress.advance(commit.revision)

    async def caught_up(self, revision: int) -> None:
        """Returns once everything up to a revision is in the view.

        Raises:
            KernelStopping: the view was closed before.
        """
        await self._progress.reached(revision)

    def close(self) -> None:
        """Notes that nothing is applied any more."""
        self._progress.close()
