from __future__ import annotations

import asyncio

import pytest

from sira_grpc.errors import KernelStopping
from sira_grpc.progress import Progress


async def test_each_waits_for_its_own_revision() -> None:
    progress = Progress()
    tasks = {n: asyncio.create_task(progress.reached(n)) for n in (3, 1, 2, 2 + 1)}
    await asyncio.sleep(0)
    progress.advance(2)
    await asyncio.gather(tasks[1], tasks[2])
    assert not tasks[3].done()
    progress.advance(1)
    assert progress.revision == 2
    progress.advance(5)
    await tasks[3]
    await progress.reached(5)


async def test_one_that_gave_up_holds_up_nobody() -> None:
    progress = Progress()
    gone, waits = asyncio.create_task(progress.reached(1)), asyncio.create_task(progress.reached(1))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    progress.advance(1)
    await waits


async def test_who_waits_for_what_never_comes_is_told() -> None:
    progress = Progress()
    gone, waits = asyncio.create_task(progress.reached(2)), asyncio.create_task(progress.reached(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    progress.advance(1)
    progress.close()
    with pytest.raises(KernelStopping):
        await waits
    await progress.reached(1)
    with pytest.raises(KernelStopping):
        await progress.reached(2)
