"""Several members with identities on one store: each with a view that a test can hold back, and a clock of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec

from sira_grpc.config import IdentityConfig, Secret
from sira_grpc.errors import NotOwner
from sira_grpc.identity.members import ROTATION, UPKEEP, Members
from sira_grpc.store import Check, Op, Put
from sira_grpc.store.sqlite import SqliteStore
from tests.clocks import FakeClock
from tests.unit.identity.world import World
from tests.unit.registry.world import GatedStore, seeded_bytes


class SharedStore(GatedStore):
    """The real store as one of several members has it. Its watch can be held back, and only the crowd closes it."""

    def __init__(self, store: SqliteStore) -> None:
        super().__init__(store, shared=True)

    def fall_behind(self) -> None:
        """Shows this member nothing that is written from here on."""
        self.visible.clear()

    def catch_up(self) -> None:
        self.visible.set()

    async def close(self) -> None:
        self.open()
        self.catch_up()


class ToldPlacement:
    """The members that a test says are live."""

    def __init__(self, member: str, live: set[str]) -> None:
        self.member = member
        self.changed: list[Callable[[], None]] = []
        self._live = live

    def is_live(self, member: str) -> bool:
        return member == self.member or member in self._live

    def owner(self, unit: str) -> str:
        return min(self._live)

    def owns(self, unit: str) -> bool:
        return self.owner(unit) == self.member


class ToldDuties:
    """The duties of one member: given and taken away by a test, in its own time and in the store."""

    def __init__(self) -> None:
        self._held: dict[str, int] = {}
        self._news = asyncio.Condition()

    async def given(self, duty: str, revision: int) -> None:
        async with self._news:
            self._held[duty] = revision
            self._news.notify_all()

    async def lost(self, duty: str) -> None:
        async with self._news:
            self._held.pop(duty, None)
            self._news.notify_all()

    async def run(self, name: str, work: Callable[[], Awaitable[None]]) -> None:
        while True:
            async with self._news:
                await self._news.wait_for(lambda: name in self._held)
            working = asyncio.ensure_future(work())
            try:
                async with self._news:
                    await self._news.wait_for(lambda: name not in self._held)
            finally:
                working.cancel()
                await asyncio.gather(working, return_exceptions=True)

    def guard(self, name: str) -> Op:
        if name not in self._held:
            raise NotOwner(f"the duty {name} is another member's")
        return Check(_key(name), self._held[name])


class Member(World):
    """One of them. Duties are its own when a test gives them to it."""

    def __init__(self, name: str, crowd: Crowd, clock: FakeClock, config: IdentityConfig, seed: int) -> None:
        super().__init__(crowd.path, clock, config)
        self.name = name
        self.random_bytes = seeded_bytes(seed)
        self.placement = ToldPlacement(name, crowd.live)
        self.duties = ToldDuties()
        self.members = Members(self.placement, self.duties)
        self.shared: SharedStore
        self._crowd = crowd

    async def open_store(self) -> GatedStore:
        self.shared = SharedStore(self._crowd.store)
        return self.shared


class Crowd:
    """Makes members on one store."""

    def __init__(self, path: Path, store: SqliteStore, config: IdentityConfig) -> None:
        self.path = path
        self.store = store
        self.config = config
        self.live: set[str] = set()
        self.members: list[Member] = []

    def member(self, *, ahead: float = 0.0, config: IdentityConfig | None = None) -> Member:
        """Makes a member that is not started.

        Args:
            ahead: seconds by which its clock is.
            config: of it; by default, one with a passphrase and a folder of its own, as on another host.
        """
        name = f"m{len(self.members)}"
        own = msgspec.structs.replace(
            self.config, dir=str(self.path / f"identity-{name}"), passphrase=Secret("correct horse")
        )
        clock = FakeClock()
        clock.advance(ahead)
        self.members.append(Member(name, self, clock, config or own, len(self.members) + 1))
        return self.members[-1]

    async def started(self, count: int = 2, *, ahead: float = 0.0) -> list[Member]:
        """Starts members, the first of which has all the duties.

        Args:
            count: how many.
            ahead: seconds by which the clocks of all but the first are.
        """
        made = [self.member(ahead=ahead if number else 0.0) for number in range(count)]
        for member in made:
            await member.start()
            self.live.add(member.name)
        await self.give_duties(made[0])
        return made

    async def give_duties(self, to: Member) -> None:
        """Has a member take every duty. Who had them learns of it by lost() only."""
        for duty in (ROTATION, UPKEEP):
            await to.duties.given(duty, await self.store.commit([Put(_key(duty), to.name.encode())]))

    async def depose(self) -> None:
        """Has a member that is not there take every duty, which nobody has noticed yet."""
        for duty in (ROTATION, UPKEEP):
            await self.store.commit([Put(_key(duty), b"another")])

    async def level(self) -> None:
        """Returns once every member has seen all that is in the store."""
        for member in self.members:
            if member.runs:
                await member.identity.view.caught_up(self.store.revision)

    def goes(self, member: Member) -> None:
        """Has the others take a member for dead."""
        self.live.discard(member.name)
        for other in self.members:
            for hook in other.placement.changed:
                hook()

    def passes(self, seconds: float) -> None:
        """Lets time pass at every member, and has each look what is to be done."""
        for member in self.members:
            member.clock.advance(seconds)
            member.identity.rotator.look()
            member.identity._followers.look()


def _key(duty: str) -> str:
    return f"cluster/duties/{duty}"
