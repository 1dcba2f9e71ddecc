"""A kernel is killed, again and again, under publishing and consuming: a checker knows every record.

SIRA_KILLS says how often, for a long run: `SIRA_KILLS=200 pytest -s tests/integration/test_bus_crash.py`.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Sequence
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
from sira_client import Settings, connect_insecure

from tests.integration.bus_client_load import SUBSCRIPTION, TOPIC, ClientLoad
from tests.integration.bus_dead_loads import DeadLetters, Redrives
from tests.integration.bus_deletion_load import Deletions, check_leftovers
from tests.integration.bus_kernel import kill_while_starting, running
from tests.integration.bus_ledger import Findings
from tests.integration.bus_life import Fuse, Life
from tests.integration.bus_loads import ORDERED, Load, Schedules, Streams, retry
from tests.kernel_store import count_entries

STILLBORN = 0.2
"""How often a kernel is killed while it starts, too."""
CLIENT_RECORDS = 2000
CLIENT_KILLS = 4
KILLS = int(os.environ.get("SIRA_KILLS", "15"))
LIFE_SECONDS = 60
"""After which a test gives up on one life of a kernel."""


async def live(folder: Path, number: int, loads: Sequence[Load], fuse: Fuse) -> Life:
    """Starts a kernel, has everything go on, and kills it."""
    async with asyncio.timeout(LIFE_SECONDS), running(folder) as kernel:
        life = Life(number, kernel, fuse)
        if not number:
            for load in loads:
                await load.prepare(kernel)
        for load in loads:
            await load.resume(life)
        life.seen("ready")
        async with asyncio.TaskGroup() as group:
            for load in loads:
                for task in load.tasks(life):
                    group.create_task(life.until_killed(task))
        return life


async def last_life(folder: Path, number: int, loads: Sequence[Load]) -> None:
    """Starts a kernel, has everything finished, and looks at what there is."""
    async with asyncio.timeout(LIFE_SECONDS), running(folder) as kernel:
        life = Life(number, kernel, None)
        for load in loads:
            await load.resume(life)
        tasks = [asyncio.create_task(task) for load in loads for task in load.tasks(life)]
        drain = asyncio.gather(*(load.drain(life) for load in loads))
        waiting: list[asyncio.Future[Any]] = [drain, *tasks]
        while not drain.done():
            done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            for each in done:
                waiting.remove(each)
                await each
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
        assert [error for error in outcomes if not isinstance(error, asyncio.CancelledError | None)] == []
        for load in loads:
            await load.check(kernel)
        for topic in await kernel.topic_names():
            assert await kernel.damages(topic) == []
        while await count_entries(folder, "bus/trash/"):
            pass  # the janitor is at it
    await check_leftovers(folder)


@pytest.mark.parametrize("seed", [20_26])
async def test_no_kill_loses_repeats_or_reorders_anything(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    findings = Findings()
    loads: list[Load] = [load(rng, findings) for load in (Streams, Schedules, DeadLetters, Redrives, Deletions)]
    kinds = {kind: count for load in loads for kind, count in load.kinds.items()}
    for number in range(KILLS):
        life = await live(tmp_path, number, loads, Fuse.random(rng, kinds))
        if rng.random() < STILLBORN:
            await kill_while_starting(tmp_path, life.kernel.seconds_to_start * rng.uniform(0.5, 1.2))
            findings.counts["kills at the start"] += 1
        findings.counts["kills"] += 1
    await last_life(tmp_path, KILLS, loads)
    print(f"seed {seed}: {dict(findings.counts)}")
    findings.check()


async def test_the_client_goes_on_through_kills(tmp_path: Path) -> None:
    async with asyncio.timeout(LIFE_SECONDS), AsyncExitStack() as stack:
        async with running(tmp_path) as kernel:
            address = kernel.address
            await kernel.create_topic(TOPIC, partitions=2)
            await kernel.create_subscription(SUBSCRIPTION, TOPIC, mode=ORDERED, retry=retry(1000))
        client = await stack.enter_async_context(connect_insecure(address, settings=Settings(longest_backoff=0.2)))
        load = ClientLoad(client, CLIENT_RECORDS)
        going_on = asyncio.create_task(load.run())
        for kills in range(1, CLIENT_KILLS + 2):
            async with running(tmp_path, address=address) as kernel:
                if kills > CLIENT_KILLS:
                    await going_on
                while len(load.processed) < kills * CLIENT_RECORDS // (CLIENT_KILLS + 1):
                    await load.news()
                kernel.kill()
    places = {(ack.partition, ack.offset) for ack in load.acks}
    assert len(places) == len(load.acks) == CLIENT_RECORDS
    assert {ack.durability for ack in load.acks} == {"disk"}
    assert sorted(number for _, _, number in load.tailed) == list(range(CLIENT_RECORDS))
    assert {(partition, offset) for partition, offset, _ in load.tailed} == places
    assert sorted(load.processed) == list(range(CLIENT_RECORDS))
    assert not load.reordered
