"""What the tests of the NATS engine share: stores on servers of their own, and writers whose history is checked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sira_grpc.clock import SystemClock
from sira_grpc.errors import Conflict, StoreUnavailable
from sira_grpc.nats_servers import NatsCluster
from sira_grpc.store import ABSENT, Check, Put, Store
from sira_grpc.store.nats import NatsStore, open_nats
from sira_grpc.store.nats_options import NatsOptions


def options(cluster: NatsCluster, **more: object) -> NatsOptions:
    given: dict[str, object] = {"url": cluster.url, "replicas": min(3, len(cluster.servers)), **more}
    return NatsOptions(**given)  # type: ignore[arg-type]  # the tests name what they change


@asynccontextmanager
async def opened(
    cluster: NatsCluster, *, ring_bytes: int = 8 << 20, history_limit: int = 100_000, **more: object
) -> AsyncIterator[NatsStore]:
    store = await open_nats(
        options(cluster, **more), clock=SystemClock(), ring_bytes=ring_bytes, history_limit=history_limit
    )
    try:
        yield store
    finally:
        await store.close()


@dataclass
class Counting:
    """A counter that one writer adds to, and a log that it appends each number to: nothing may be lost or double."""

    name: str
    acknowledged: int = 0
    appended: int = 0
    unknown: int = 0
    refused: int = 0
    offsets: list[int] = field(default_factory=list)

    async def run(self, store: Store, more: Callable[[], bool]) -> None:
        """Writes until it is told to stop. What ends unknown is looked up, as a caller would."""
        while more():
            await self._count(store)
            await self._append(store)

    async def _count(self, store: Store) -> None:
        entry = await store.get(f"count/{self.name}")
        value = int(entry.value) if entry else 0
        assert value >= self.acknowledged, "a commit that was acknowledged is gone"
        assert self.unknown or value == self.acknowledged, "a commit was applied twice"
        other = await store.get("shared/total")
        total = int(other.value) if other else 0
        try:
            await store.commit(
                [
                    Put(f"count/{self.name}", b"%d" % (value + 1), entry.revision if entry else ABSENT),
                    Put("shared/total", b"%d" % (total + 1), other.revision if other else ABSENT),
                    Check("shared/fence", ABSENT),
                ]
            )
            self.acknowledged = value + 1
        except Conflict:
            self.refused += 1
        except StoreUnavailable as error:
            self.unknown += error.metadata["outcome"] == "unknown"
            await asyncio.sleep(0.05)

    async def _append(self, store: Store) -> None:
        frames = [b"%d" % (self.appended + n) for n in range(3)]
        try:
            offset = await store.append(f"log/{self.name}", frames, expected=self.appended)
        except StoreUnavailable:
            await asyncio.sleep(0.05)
            return
        except Conflict as conflict:
            # Only a try of our own whose outcome was unknown can be there.
            self.appended = int(conflict.metadata["next"])
            return
        assert offset == self.appended
        self.appended += 3

    async def check(self, store: Store) -> None:
        entry = await store.get(f"count/{self.name}")
        value = int(entry.value) if entry else 0
        assert self.acknowledged <= value <= self.acknowledged + self.unknown
        frames = await store.read(f"log/{self.name}", 0, max_frames=10_000, max_bytes=64 << 20)
        while (span := await store.range(f"log/{self.name}")).next > len(frames):
            frames = [*frames, *await store.read(f"log/{self.name}", len(frames), max_frames=10_000, max_bytes=1 << 26)]
        assert [int(frame.data) for frame in frames] == list(range(span.next))
        assert span.next >= self.appended
