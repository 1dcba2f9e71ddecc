"""Members that keep locks on one real store, on time that stands still, and streams of their callers."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Generic, TypeVar, cast

from google.protobuf.duration_pb2 import Duration
from sira.cluster.v1.election_service_pb2 import CampaignRequest, Candidacy
from sira.cluster.v1.lock_service_pb2 import HoldLockRequest, LockAcquisition, LockRenewal

from sira_grpc.cluster.lock_room import Limits
from sira_grpc.cluster.locking import Locking
from sira_grpc.errors import NamespaceNotFound
from sira_grpc.placement import rendezvous
from sira_grpc.store import Op, Store, open_sqlite
from sira_grpc.store.sqlite import SqliteStore
from tests.clocks import FakeClock

NAMESPACE = "namespaces/default"
LOCK = f"{NAMESPACE}/locks/x"
ELECTION = f"{NAMESPACE}/elections/x"
STEP = 0.5

R = TypeVar("R")


class SharedStore:
    """The real store, as one that several members are on: it can be lost, and commits can be held up."""

    def __init__(self, store: SqliteStore, *, shared: bool = True) -> None:
        self._store = store
        self.shared = shared
        self.available = True
        self.failures: list[Exception] = []
        self.syncs = 0
        self.meanwhile: Callable[[], Awaitable[object]] | None = None
        self.gate = asyncio.Event()
        self.gate.set()

    async def commit(self, ops: Sequence[Op]) -> int:
        await self.gate.wait()
        if self.meanwhile is not None:  # what somebody else does before this one gets through
            meanwhile, self.meanwhile = self.meanwhile, None
            await meanwhile()
        if self.failures:
            raise self.failures.pop(0)
        return await self._store.commit(ops)

    async def sync(self) -> int:
        if self.failures:
            raise self.failures.pop(0)
        self.syncs += 1
        return await self._store.sync()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


class Live:
    """The members that are live, as all of them know."""

    def __init__(self) -> None:
        self.members: set[str] = set()
        self.placements: list[ToldPlacement] = []

    def change(self, *members: str) -> None:
        """These are live from here on."""
        self.members = set(members)
        for placement in self.placements:
            for hook in placement.changed:
                hook()


class ToldPlacement:
    """The placement of one member."""

    def __init__(self, member: str, live: Live) -> None:
        self.member = member
        self.changed: list[Callable[[], None]] = []
        self._live = live
        live.placements.append(self)

    def is_live(self, member: str) -> bool:
        return member == self.member or member in self._live.members

    def owner(self, unit: str) -> str:
        return rendezvous(unit, self._live.members | {self.member})

    def owns(self, unit: str) -> bool:
        return self.owner(unit) == self.member


class ToldNamespaces:
    """The namespaces that there are."""

    def __init__(self) -> None:
        self.names = {NAMESPACE}

    def namespace(self, name: str) -> object:
        if name not in self.names:
            raise NamespaceNotFound(f"{name} is not there")
        return name

    @contextmanager
    def keeping(self, name: str) -> Iterator[None]:
        self.namespace(name)
        yield


class World:
    """Members on one store."""

    def __init__(self, store: SharedStore, clock: FakeClock) -> None:
        self.store = store
        self.clock = clock
        self.live = Live()
        self.namespaces = ToldNamespaces()
        self.members: dict[str, Locking] = {}

    async def member(self, name: str = "a", limits: Limits | None = None) -> Locking:
        """Starts a member."""
        made = self.members[name] = Locking(
            cast(Store, self.store),
            self.namespaces,
            ToldPlacement(name, self.live),
            clock=self.clock,
            rng=random.Random(1),
            random_bytes=random.Random(f"{name}{self.store.revision}").randbytes,
            limits=limits,
        )
        await made.start()
        self.live.change(*self.live.members, name)
        return made

    async def kill(self, name: str) -> None:
        """A member is gone, and the others know."""
        await self.members.pop(name).close()
        self.live.change(*self.live.members - {name})

    async def pass_(self, seconds: float) -> None:
        """Lets time pass, while every member sweeps."""
        while seconds > 0:
            self.clock.advance(min(STEP, seconds))
            seconds -= STEP
            for member in list(self.members.values()):
                await member.expiry.sweep()

    async def turns(self) -> None:
        """Lets every task that can go on without the store go on."""
        for _ in range(10):
            await asyncio.sleep(0)

    async def caught_up(self) -> None:
        """Returns when every member knows what was committed."""
        for member in self.members.values():
            await member.view.caught_up(self.store.revision)


@asynccontextmanager
async def world(path: Path, *, shared: bool = True) -> AsyncIterator[World]:
    clock = FakeClock()
    store = SharedStore(await open_sqlite(path, clock=clock), shared=shared)
    made = World(store, clock)
    try:
        yield made
    finally:
        store.gate.set()
        for member in made.members.values():
            await member.close()
        await store.close()


def wanted(*, wait: float | None = None, ttl: float = 10, name: str = LOCK, **fields: Any) -> LockAcquisition:
    """An acquisition."""
    acquisition = LockAcquisition(name=name, **fields)
    acquisition.ttl.FromNanoseconds(round(ttl * 1e9))
    if wait is not None:
        acquisition.wait.FromNanoseconds(round(wait * 1e9))
    return acquisition


class Requests(Generic[R]):
    """What a client sends."""

    def __init__(self, *first: R) -> None:
        self._queue: asyncio.Queue[R | None] = asyncio.Queue()
        for request in first:
            self.send(request)

    def send(self, request: R) -> None:
        self._queue.put_nowait(request)

    def end(self) -> None:
        self._queue.put_nowait(None)

    def __aiter__(self) -> Requests[R]:
        return self

    async def __anext__(self) -> R:
        request = await self._queue.get()
        if request is None:
            raise StopAsyncIteration
        return request


class LockStream:
    """One HoldLock stream."""

    def __init__(self, member: Locking, begin: LockAcquisition | str, *, owner: str = "me") -> None:
        first = HoldLockRequest(lock_key=begin) if isinstance(begin, str) else HoldLockRequest(acquire=begin)
        self.requests = Requests(first)
        self.key = ""
        self._responses = member.locks.hold(self.requests, owner)

    async def next(self) -> Any:
        """Returns the next thing that is told."""
        response = await anext(self._responses)
        event = getattr(response, str(response.WhichOneof("event")))
        self.key = getattr(event, "lock_key", self.key)
        return event

    async def renew(self) -> Any:
        """Renews, and returns what that is answered."""
        self.requests.send(HoldLockRequest(renew=LockRenewal()))
        return await self.next()

    async def acquired(self) -> int:
        """Returns the token, once it is acquired."""
        while True:
            event = await self.next()
            if hasattr(event, "token"):
                return int(event.token)

    async def lose(self) -> None:
        """The connection is lost."""
        await self._responses.aclose()

    async def release(self) -> None:
        """Closes the sending side, and reads to the end."""
        self.requests.end()
        await self.ended()

    async def ended(self) -> None:
        """Reads to the end."""
        async for _ in self._responses:
            pass


class CampaignStream:
    """One Campaign stream."""

    def __init__(self, member: Locking, begin: Candidacy | str) -> None:
        first = CampaignRequest(campaign_key=begin) if isinstance(begin, str) else CampaignRequest(stand=begin)
        self.requests = Requests(first)
        self.responses = member.elections.campaign(self.requests, "me")

    async def until(self, event: str) -> Any:
        """Reads until something of a kind is told, and returns it."""
        while True:
            response = await anext(self.responses)
            if response.WhichOneof("event") == event:
                return getattr(response, event)

    async def resign(self) -> None:
        """Closes the sending side, and reads to the end."""
        self.requests.end()
        async for _ in self.responses:
            pass


def candidacy(label: str = "", value: bytes = b"") -> Candidacy:
    """Stands for the election that tests use."""
    return Candidacy(name=ELECTION, label=label, value=value, ttl=Duration(seconds=10))
