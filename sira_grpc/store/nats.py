"""The cluster's engine: a Store on NATS JetStream, which any number of members share.

The *state* is one stream with a subject for each key. An entry's revision is its sequence, a commit's that of its last
message; a commit of several operations is an atomic batch. Each member has every entry in memory (nats_mirror), fed by
following the stream (nats_tail), and serves reads and watches from there. What the history may hold is bounded by
compaction (nats_compaction), and nothing else is ever taken out of the stream.

A *log* partition is a stream too, and so are all *blobs* together. Whatever is read carries a checksum of ours.

Two things make this safe however many members there are, and whichever of them has died or lags: every message says
what it expects to be there, and the stream's leader, which needs a majority, stores it only if it is. Reads decide
nothing.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
from collections.abc import Callable, Coroutine
from contextlib import suppress

from sira_grpc.clock import Clock
from sira_grpc.errors import StoreUnavailable
from sira_grpc.store.composed import ComposedStore
from sira_grpc.store.nats_blobs import NatsBlobs
from sira_grpc.store.nats_checks import check_replicas, check_server
from sira_grpc.store.nats_commits import Commits
from sira_grpc.store.nats_compaction import Compaction
from sira_grpc.store.nats_errors import Lost, Refused, closed, unavailable
from sira_grpc.store.nats_feed import Feed
from sira_grpc.store.nats_gate import Gate
from sira_grpc.store.nats_link import Link
from sira_grpc.store.nats_log import NatsLog
from sira_grpc.store.nats_mirror import Mirror
from sira_grpc.store.nats_names import Names
from sira_grpc.store.nats_options import NatsOptions
from sira_grpc.store.nats_replicas import NatsReplicas, replicas_of
from sira_grpc.store.nats_state import NatsState
from sira_grpc.store.nats_streams import Streams
from sira_grpc.store.nats_tail import Tail

HISTORY_LIMIT = 100_000
HISTORY_BYTES = 1 << 30
RING_BYTES = 8 << 20
OPEN_SECONDS = 30.0
RETRY_SECONDS = 0.1

_log = logging.getLogger(__name__)


async def open_nats(
    options: NatsOptions,
    *,
    clock: Clock,
    random_bytes: Callable[[int], bytes] = secrets.token_bytes,
    history_limit: int = HISTORY_LIMIT,
    history_bytes: int = HISTORY_BYTES,
    ring_bytes: int = RING_BYTES,
    open_timeout: float = OPEN_SECONDS,
) -> NatsStore:
    """Opens the store on a NATS cluster; the first member makes its streams.

    Args:
        options: how the cluster is reached, and what is asked of it.
        clock: dates the log frames.
        random_bytes: makes the ids of commits and appends; no two members may get the same from it.
        history_limit: revisions that stay watchable at least; older ones are compacted away in the background.
        history_bytes: what the history may hold in the stream, about, before older revisions are compacted away.
        ring_bytes: how much of the newest history is kept in memory, so that a watch which keeps up reads no stream.
        open_timeout: seconds after which a cluster that does not answer is given up.

    Raises:
        StoreUnavailable: no server can be reached in time, or the servers cannot keep the store; the message says
            what to change.
        StoreCorrupt: the state is damaged on every replica.
    """
    if history_limit < 1:
        raise ValueError(f"history_limit is {history_limit}: must be at least 1")
    link = Link()
    try:
        await link.connect(options, within=open_timeout)
        store = NatsStore(
            link,
            options,
            clock,
            random_bytes,
            history_limit=history_limit,
            history_bytes=history_bytes,
            ring_bytes=ring_bytes,
        )
        await store.start(options, within=open_timeout)
    except BaseException:
        await link.close()
        raise
    return store


class NatsStore(ComposedStore):
    """Implements Store; made by open_nats, in the event loop that is to use it."""

    engine = "nats"
    shared = True

    def __init__(
        self,
        link: Link,
        options: NatsOptions,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        *,
        history_limit: int,
        history_bytes: int,
        ring_bytes: int,
    ) -> None:
        names = self._names = Names(options.prefix)
        self._link = link
        self._streams = Streams(link, replicas=options.replicas)
        self._gate = Gate(options.write_timeout)
        self._log_gate = Gate(options.write_timeout, behind=self._gate)
        self._mirror = Mirror(names)
        self._tail = Tail(link, names, self._mirror, random_bytes)
        self._feed = Feed(self._mirror, self._tail, ring_bytes=ring_bytes)
        self._commits = Commits(link, names, self._mirror, self._gate, random_bytes)
        self._compaction = Compaction(
            link,
            names,
            self._mirror,
            random_bytes,
            streams=self._streams,
            history_limit=history_limit,
            history_bytes=history_bytes,
        )
        self._feed.noted = self._compaction.note
        blobs = NatsBlobs(link, names, self._streams, self._log_gate, clock, random_bytes)
        super().__init__(
            NatsState(self._mirror, self._feed, self._commits, self._compaction, self._gate),
            NatsLog(link, names, self._streams, self._log_gate, clock, random_bytes),
            blobs,
        )
        self._abandoned = blobs.remove_abandoned
        self._tasks: list[asyncio.Task[None]] = []
        self._closed = False

    async def start(self, options: NatsOptions, *, within: float) -> None:
        """Looks at the servers, makes the state's stream and loads it.

        Raises:
            StoreUnavailable: see open_nats.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + within
        trouble = "time is up"
        while loop.time() < deadline:
            try:
                await self._link.up(deadline)
                await check_server(self._link, options)
                check_replicas(await self._streams.ensure(self._names.state, self._names.state_subjects), options)
                break
            except (Lost, Refused) as error:
                trouble = str(error)
            await asyncio.sleep(RETRY_SECONDS)
        else:
            raise unavailable(trouble)
        self._own(self._tail.run(), "sira-store-tail")
        try:
            async with asyncio.timeout_at(deadline):
                await self._mirror.loaded.wait()
        except TimeoutError:
            await self._cancel()
            raise unavailable(f"the state could not be loaded ({self._tail.trouble})") from None
        except BaseException:
            await self._cancel()
            raise
        self._own(self._gate.run_probes(self._commits.probe), "sira-store-probes")
        self._own(self._compaction.run(), "sira-store-compaction")
        self._own(self._remove_abandoned(), "sira-store-abandoned")

    def _own(self, work: Coroutine[None, None, None], name: str) -> None:
        task = asyncio.create_task(work, name=name)
        task.add_done_callback(_ended)
        self._tasks.append(task)

    async def _remove_abandoned(self) -> None:
        with suppress(Lost, Refused, StoreUnavailable):  # the next member that opens the store tries again
            await self._abandoned()

    @property
    def writable(self) -> bool:
        """See Store."""
        return self._gate.writable

    @property
    def available(self) -> bool:
        """See Store."""
        return self._link.connected and self._gate.writable and not self._closed

    async def replica_state(self) -> NatsReplicas:
        """Returns which servers hold the state, and how they are.

        Raises:
            StoreUnavailable: none of them leads.
        """
        return await replicas_of(self._link, self._names.state)

    async def close(self) -> None:
        """See Store."""
        if self._closed:
            return
        self._closed = True
        await self._log_gate.close()
        await self._gate.close()
        await self._cancel()
        self._feed.close()
        self._mirror.fail(closed)
        await self._link.close()

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)  # what failed has been logged when it did


def _ended(task: asyncio.Task[None]) -> None:
    if not task.cancelled() and (error := task.exception()) is not None:
        _log.critical("%s ended", task.get_name(), exc_info=error)
