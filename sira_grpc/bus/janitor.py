"""Deletes the logs of topics and subscriptions that are gone."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import Protocol

from sira.bus.internal.v1.topic_record_pb2 import TrashRecord

from sira_grpc.bus import names
from sira_grpc.bus.view import BusView
from sira_grpc.commits import Commits, in_chunks
from sira_grpc.errors import SiraError
from sira_grpc.store.api import Delete, LogStore, Put

RETRY_SECONDS = 0.5
LOGS_IN_A_LIST = 10_000
"""Logs in one TrashRecord: 430 KB with the longest names, where a value may have 1 MiB."""
LISTS_AT_ONCE = 16
"""TrashRecords in one commit: 7 MB, where it may have 16 MiB."""

log = logging.getLogger(__name__)


class Writers(Protocol):
    """Whoever writes to the logs of the bus."""

    async def released(self, uid: str) -> None:
        """Returns once nothing is written any more to the logs of a topic or subscription that is gone.

        That includes what subscriptions settle in a topic. A write that came after the deletion would make the log
        anew, and nobody would ever delete it.
        """


def trash_of(namespace: str, uid: str, logs: Sequence[str]) -> list[Put]:
    """Returns what notes the logs of a topic or subscription as trash: one list, or more where they are very many."""
    lists = [logs[at : at + LOGS_IN_A_LIST] for at in range(0, len(logs), LOGS_IN_A_LIST)]
    return [
        Put(names.trash_key(names.trash_of(namespace, uid, number)), TrashRecord(logs=some).SerializeToString())
        for number, some in enumerate(lists)
    ]


async def delete_with_logs(
    commits: Commits, namespace: str, uid: str, logs: Sequence[str], delete: Callable[[], Delete]
) -> None:
    """Deletes a topic or subscription, and notes its logs as trash in the same commit.

    Lists that the commit has no room for are noted before it: the janitor leaves them alone until what they belong to
    is gone.

    Args:
        commits: of the store.
        namespace: that it is in.
        uid: of what is deleted.
        logs: names of its logs, at least one.
        delete: plans the deletion; asked again when another write comes in between.
    """
    lists = trash_of(namespace, uid, logs)
    early, last = lists[:-LISTS_AT_ONCE], lists[-LISTS_AT_ONCE:]
    await in_chunks(commits.write, [[put] for put in early], LISTS_AT_ONCE)
    await commits.apply(lambda: [delete(), *last])


class Janitor:
    """Deletes the logs that the view has as trash, then the note of them and what is said of their compaction.

    Each member does so in the namespaces that are its own, as it knows when nobody writes there any more. That two do
    it does no harm: what belonged to a uid that is gone is of no use to anybody, and the uid never comes back.

    Args:
        view: what there is.
        commits: of the store.
        logs: of the store.
        writers: whoever writes to them.
        owned: whether a namespace is this member's; asked with "" for lists that do not tell theirs.
    """

    def __init__(
        self, view: BusView, commits: Commits, logs: LogStore, writers: Writers, owned: Callable[[str], bool]
    ) -> None:
        self._owned = owned
        self._view = view
        self._commits = commits
        self._logs = logs
        self._writers = writers
        self._wake = asyncio.Event()
        view.hooks.trash_written.append(lambda trash: self._wake.set())
        view.hooks.topic_gone.append(lambda entry: self._wake.set())
        view.hooks.subscription_gone.append(lambda entry: self._wake.set())

    def wake(self) -> None:
        """Other namespaces may be this member's now."""
        self._wake.set()

    async def run(self) -> None:
        """Does it for ever; cancelled by its owner. A store that cannot write is tried again every half second."""
        while True:
            self._wake.clear()
            try:
                await self.sweep()
            except SiraError:
                log.warning("logs of what was deleted are still there; it is tried again", exc_info=True)
                await asyncio.sleep(RETRY_SECONDS)
            else:
                await self._wake.wait()

    async def sweep(self) -> None:
        """Deletes the logs of all that is gone now.

        Raises:
            StoreUnavailable: nothing can be written now.
        """
        for trash, found in tuple(self._view.trash.items()):
            uid = names.uid_of_trash(trash)
            if not self._owned(names.namespace_of_trash(trash)):
                continue
            if uid in self._view.topics_by_uid or uid in self._view.subscriptions_by_uid:
                continue
            await self._writers.released(uid)
            for name in found.logs:
                await self._logs.delete_partition(name)
            keys = [names.trash_key(trash), *names.compaction_keys(found.logs)]
            await self._commits.write([Delete(key) for key in keys])
