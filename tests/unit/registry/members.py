"""Members on one store, with a placement that a test sets, and views that it holds up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sira_grpc.config import RegistryConfig
from sira_grpc.placement import rendezvous
from sira_grpc.store import Put
from sira_grpc.store.sqlite import SqliteStore
from tests.clocks import FakeClock
from tests.unit.registry.world import GatedStore, World, seeded_bytes


class SetPlacement:
    """What one member thinks of the others, as a test says."""

    def __init__(self, member: str, live: set[str]) -> None:
        self.member = member
        self.live = live
        self.owners: dict[str, str] = {}  # by unit, where it is not left to hashing
        self.changed: list[Callable[[], None]] = []

    def is_live(self, member: str) -> bool:
        return member == self.member or member in self.live

    def owner(self, unit: str) -> str:
        return self.owners.get(unit) or rendezvous(unit, self.live | {self.member})

    def owns(self, unit: str) -> bool:
        return self.owner(unit) == self.member


class Member(World):
    """One member of several: a world whose store is not its own."""

    def __init__(self, name: str, path: Path, store: SqliteStore, clock: FakeClock, config: RegistryConfig) -> None:
        super().__init__(path, clock, config)
        self.name = name
        self.view_of = SetPlacement(name, {name})
        self.placement = self.view_of
        self._shared_store = store
        self._random_bytes = seeded_bytes(ord(name[0]))

    async def open_store(self) -> GatedStore:
        return GatedStore(self._shared_store, shared=True)

    def freeze(self) -> None:
        """From here on its view shows nothing new."""
        self.store.visible.clear()

    def thaw(self) -> None:
        self.store.visible.set()

    async def stop(self) -> None:
        self.thaw()
        self.store.open()
        await self.registry.close()

    async def seen(self) -> None:
        """Returns when its view shows all that is in the store."""
        await self.registry.view.caught_up(self._shared_store.revision)


class Cluster:
    """Members on one store. Those that are live beat once a second, as time passes."""

    def __init__(self, path: Path, store: SqliteStore, clock: FakeClock, config: RegistryConfig) -> None:
        self.store = store
        self.clock = clock
        self._path = path
        self._config = config
        self.members: list[Member] = []
        self.stalled = False

    async def add(self, *names: str) -> list[Member]:
        """Starts members, and has everybody know of them."""
        added = []
        for name in names:
            member = Member(name, self._path, self.store, self.clock, self._config)
            self.members.append(member)
            await member.start()
            added.append(member)
        await self.live(*(member.name for member in self.members))
        return added

    async def live(self, *names: str) -> None:
        """Has all members think that these are live, and act on it."""
        for member in self.members:
            await self.think(member, *names)

    async def think(self, member: Member, *names: str) -> None:
        """Has one member think that these are live, and act on it."""
        member.view_of.live = set(names)
        for hook in member.view_of.changed:
            hook()
        await member.registry.resharding.settle()

    async def seen(self) -> None:
        """Returns when every view that is not frozen shows all that is in the store."""
        for member in self.members:
            if member.store.visible.is_set():
                await member.settled()
                await member.seen()

    async def beat(self) -> None:
        await self.store.commit([Put("cluster/members/any", b"")])
        await self.seen()

    async def pass_time(self, seconds: float) -> None:
        """Lets time pass, second by second, with a heartbeat and a sweep of whoever is not frozen in each."""
        while seconds > 0:
            step = min(1.0, seconds)
            seconds -= step
            self.clock.advance(step)
            if not self.stalled:
                await self.beat()
            for member in self.members:
                if member.store.visible.is_set():
                    await member.registry.expiry.sweep()
            await self.seen()
