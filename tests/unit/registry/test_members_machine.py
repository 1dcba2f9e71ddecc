"""Leases on three members that die, freeze and come back in any order: who lives is never evicted, who is dead is."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from sira_grpc.config import RegistryConfig
from sira_grpc.registry import expiry
from sira_grpc.registry.tenure import Hold
from sira_grpc.store import open_sqlite
from tests.clocks import FakeClock
from tests.unit.registry.members import Cluster, Member
from tests.unit.registry.world import SERVICE, endpoint

T = TypeVar("T")
TTL = 10.0
NAMES = ("a", "b", "c")
PICK = st.integers(0, 11)


@dataclass
class Client:
    """A client as it sees itself: it must not be evicted before a time; never while a stream of it is open."""

    id: str
    key: str
    alive_until: float
    hold: Hold | None = None
    at: Member | None = None


class MembersMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._runner = asyncio.Runner()
        self._clock = FakeClock()
        self._clients: list[Client] = []
        self._broken: list[tuple[Member, Hold]] = []  # streams that a frozen member does not know to be broken
        self._count = 0
        self._cluster: Cluster

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        async def seen() -> T:
            try:
                return await work
            finally:
                await self._cluster.seen()

        return self._runner.run(seen())

    @initialize()
    def start(self) -> None:
        async def open_cluster() -> None:
            path = Path(self._folder.name)
            store = await open_sqlite(path, clock=self._clock)
            config = RegistryConfig(self_preservation_share=1)  # it has tests of its own
            self._cluster = Cluster(path, store, self._clock, config)
            await self._cluster.add(*NAMES)

        self._runner.run(open_cluster())

    def up(self) -> list[Member]:
        return [member for member in self._cluster.members if member.store.visible.is_set()]

    def member(self, pick: int) -> Member:
        return self.up()[pick % len(self.up())]

    def living(self) -> list[Client]:
        return [c for c in self._clients if c.hold is not None or c.alive_until > self._clock.monotonic()]

    def heard(self, client: Client) -> None:
        client.alive_until = self._clock.monotonic() + TTL

    @rule(pick=PICK)
    def register(self, pick: int) -> None:
        self._count += 1
        id_ = f"e{self._count}"
        key = self.run(self.member(pick).register(endpoint(id_), ttl=TTL))
        client = Client(id_, key, 0.0)
        self.heard(client)
        self._clients.append(client)

    @precondition(lambda self: self.living())
    @rule(client=PICK, pick=PICK)
    def attach(self, client: int, pick: int) -> None:
        chosen = self.living()[client % len(self.living())]
        at = self.member(pick)
        chosen.hold, chosen.at = self.run(at.registry.keeper.attach(chosen.key, actor="")), at

    @precondition(lambda self: any(c.hold for c in self._clients))
    @rule(client=PICK)
    def lose_stream(self, client: int) -> None:
        held = [c for c in self._clients if c.hold is not None]
        chosen = held[client % len(held)]
        assert chosen.hold is not None
        assert chosen.at is not None
        assert not chosen.hold.ended.done()
        chosen.at.registry.keeper.lost(chosen.hold, actor="")
        chosen.hold = None
        self.heard(chosen)
        self._runner.run(self._cluster.seen())

    @precondition(lambda self: self.living())
    @rule(clients=st.sets(PICK, min_size=1), pick=PICK)
    def renew(self, clients: set[int], pick: int) -> None:
        unheld = [c for c in self.living() if c.hold is None]
        chosen = [unheld[i] for i in clients if i < len(unheld)]
        assert self.run(self.member(pick).registry.keeper.renew([c.key for c in chosen])) == []
        for client in chosen:
            self.heard(client)

    @precondition(lambda self: len(self.up()) > 1)
    @rule(pick=PICK, late=st.integers(0, 3))
    def die(self, pick: int, late: int) -> None:
        """A member is gone; the others find out a little later."""
        member = self.member(pick)
        member.freeze()
        for client in self._clients:
            if client.hold is not None and client.at is member:
                self._broken.append((member, client.hold))
                client.hold = None
                self.heard(client)
        self.run(self._cluster.pass_time(late))
        self.run(self._cluster.live(*(m.name for m in self.up())))

    def thaw(self, member: Member) -> None:
        for at, hold in self._broken:
            if at is member:
                member.registry.keeper.lost(hold, actor="")  # its view is behind still
        self._broken = [(at, hold) for at, hold in self._broken if at is not member]
        member.thaw()

    @precondition(lambda self: len(self.up()) < len(NAMES))
    @rule(pick=PICK)
    def wake(self, pick: int) -> None:
        """A member that was frozen goes on."""
        frozen = [m for m in self._cluster.members if m not in self.up()]
        self.thaw(frozen[pick % len(frozen)])
        self.run(self._cluster.live(*(m.name for m in self.up())))

    @precondition(lambda self: len(self.up()) > 1)
    @rule(pick=PICK, seconds=st.integers(1, int(TTL) - 1))
    def disagree(self, pick: int, seconds: int) -> None:
        """A member thinks for less than a TTL that it is alone."""
        self.run(self._cluster.think(self.member(pick), self.member(pick).name))
        self.run(self._cluster.pass_time(seconds))
        self.run(self._cluster.live(*(m.name for m in self.up())))

    @rule(seconds=st.integers(1, 7))
    def pass_time(self, seconds: int) -> None:
        self.run(self._cluster.pass_time(seconds))

    def registered(self, member: Member) -> set[str]:
        return member.registered() if SERVICE in member.registry.view.services else set()

    @invariant()
    def who_lives_is_there(self) -> None:
        living = {client.id for client in self.living()}
        for member in self.up():
            assert living <= self.registered(member)

    @invariant()
    def who_is_held_is_not_suspect(self) -> None:
        for client in self._clients:
            if client.hold is not None:
                assert not client.hold.ended.done()
                assert not self.up()[0].state(client.id).suspect

    def teardown(self) -> None:
        async def close() -> None:
            for member in self._cluster.members:
                self.thaw(member)
            await self._cluster.live(*NAMES)
            await self._cluster.pass_time(3 * TTL)
            held = {client.id for client in self._clients if client.hold is not None}
            found = [self.registered(member) for member in self._cluster.members]
            for member in self._cluster.members:
                await member.stop()
            await self._cluster.store.close()
            assert found == [held] * len(NAMES)

        try:
            self._runner.run(close())
        finally:
            self._runner.close()
            self._folder.cleanup()


@pytest.fixture(autouse=True)
def _swept_by_the_test_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expiry, "SWEEP_SECONDS", 3600.0)


def test_members() -> None:
    run_state_machine_as_test(MembersMachine, settings=settings(max_examples=25, stateful_step_count=25, deadline=None))
