"""Two members that both believe that all is theirs, again and again, with producers and consumers at both of them."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from contextlib import suppress

import pytest
from sira.bus.v1.subscription_service_pb2 import Delivery

from sira_grpc.bus import ownership
from sira_grpc.errors import SiraError
from tests.unit.bus.members_world import Member, Members, Stream, payloads_of, until

PRODUCERS = 4
FRAMES = 60
ROUNDS = 15
KEYS = 3


class World:
    """What was sent, what came of it, and what must not be.

    Attributes:
        acknowledged: offset of each record that was acknowledged, by payload.
        confirmed: offsets that were confirmed to be settled.
        done: payloads that a consumer has said it is done with, whether that was confirmed or not.
        wrong: what must not be.
    """

    def __init__(self, members: Members, rng: random.Random) -> None:
        self.members = members
        self.rng = rng
        self.acknowledged: dict[str, int] = {}
        self.confirmed: set[int] = set()
        self.done: set[str] = set()
        self.wrong: list[str] = []

    def any(self) -> Member:
        return self.rng.choice([self.members.a, self.members.b])

    async def produce(self, name: str) -> None:
        """Sends frames one by one, each until it is acknowledged, as the client does: by its sequence."""
        for number in range(1, FRAMES + 1):
            payload = f"{name}/{number}"
            while True:
                with suppress(SiraError):
                    answer = await self.any().publish_as(name, number, payload, key=f"{name}/{number % KEYS}")
                    self.acknowledged[payload] = answer.offset
                    break
                await asyncio.sleep(0)

    async def consume(self) -> None:
        """Settles what comes, and says what was confirmed; goes to another member when the stream ends."""
        while True:
            stream = self.any().subscribe()
            try:
                with suppress(SiraError):
                    while True:
                        await self._settle(stream, await stream.delivery())
            finally:
                await stream.close()

    async def _settle(self, stream: Stream, delivery: Delivery) -> None:
        """Settles records one by one, so that it is known what was confirmed before each."""
        for offset, payload in payloads_of(delivery):
            before = self.before(payload)
            if before and before not in self.done:
                self.wrong.append(f"{payload} was delivered before {before}")
            confirmed = offset in self.confirmed
            self.done.add(payload)
            settled = await stream.ack(offset, offset + 1)
            if settled.stale:
                continue  # it was on its way, or somebody else has it by now
            if confirmed:
                self.wrong.append(f"{payload} was delivered after it was settled")
            self.confirmed.add(offset)

    @staticmethod
    def before(payload: str) -> str:
        """The record before one of the same key; empty for the first."""
        name, _, number = payload.partition("/")
        return f"{name}/{int(number) - KEYS}" if int(number) > KEYS else ""

    async def trouble(self) -> None:
        """Has them believe this and that, stops one or the other, and loses answers; in the end all is well again."""
        members, rng = self.members, self.rng
        for _ in range(ROUNDS):
            for member in (members.a, members.b):
                members.believe(member, rng.choice(["a", "b", member.name]), rng.choice(["ab", "a", "b"]))
                if rng.random() < 0.3:
                    member.store.faults[rng.choice(["/log", "/0", "/dead", "/marks"])] = rng.choice(
                        ["unknown", "lost", "late", "none"]
                    )
            stopped = rng.choice([members.a, members.b, None])
            if stopped is not None:
                stopped.store.stop()
            await asyncio.sleep(rng.uniform(0, 0.05))
            for member in (members.a, members.b):
                member.store.go_on(blind=rng.random() < 0.3)
            await asyncio.sleep(rng.uniform(0, 0.1))
            for member in (members.a, members.b):
                await member.store.let_late_ones_in()
                member.store.go_on()
            await asyncio.sleep(rng.uniform(0, 0.05))
        for member in (members.a, members.b):
            member.store.faults.clear()
        members.agree("a")


async def _stored(members: Members) -> list[str]:
    """All that the topic holds, once it is settled whose it is."""
    async with asyncio.timeout(30):
        while True:
            with suppress(SiraError):
                return await members.a.payloads()
            await asyncio.sleep(0)


@pytest.mark.parametrize("seed", [0, 1, 2, 3, 32])
async def test_nothing_is_lost_doubled_reordered_or_settled_in_vain(
    members: Members, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    monkeypatch.setattr(ownership, "HANDOVER_SECONDS", 0.03)
    monkeypatch.setattr(ownership, "LONGEST_PAUSE", 0.02)
    await members.set_up()
    world = World(members, random.Random(seed))
    consuming = [asyncio.create_task(world.consume()) for _ in range(2)]
    async with asyncio.timeout(100):
        await asyncio.gather(world.trouble(), *(world.produce(f"p{number}") for number in range(PRODUCERS)))
    await until(lambda: world.done == set(world.acknowledged))
    for task in consuming:
        task.cancel()
    await asyncio.gather(*consuming, return_exceptions=True)
    stored = await _stored(members)
    assert sorted(stored) == sorted(world.acknowledged), "each once"
    places: defaultdict[str, list[int]] = defaultdict(list)
    for payload in stored:
        name, _, number = payload.partition("/")
        places[name].append(int(number))
    assert all(numbers == list(range(1, FRAMES + 1)) for numbers in places.values()), "in order"
    assert all(stored[offset] == payload for payload, offset in world.acknowledged.items() if offset >= 0)
    assert not world.wrong
