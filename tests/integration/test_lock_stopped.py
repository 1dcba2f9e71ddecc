"""A holder that is stopped for longer than its TTL and goes on: it knows, and what it writes is refused, always."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sira_client import LockLostError, SiraError, connect_insecure

from tests.integration.registry_kernel import Running, running
from tests.integration.sira_process import dev

HOLDER = Path(__file__).with_name("lock_holder.py")
TRIES = 150
TTL = 1.0


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Running]:
    # A process that is stopped answers no pings: so the kernel finds out that its stream is lost.
    async with running(tmp_path, keepalive_time=1, keepalive_timeout=1) as made:
        yield made


class Holder:
    """The process."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process

    async def told(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        told: dict[str, Any] = json.loads(await self.process.stdout.readline())
        return told

    async def write(self, times: int) -> dict[str, Any]:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{times}\n".encode())
        return await self.told()


@pytest.fixture
async def holder(kernel: Running) -> AsyncIterator[Holder]:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        sys.executable, HOLDER, kernel.kernel.addresses[0], str(TTL), stdin=pipe, stdout=pipe
    )
    try:
        yield Holder(process)
    finally:
        process.kill()
        await process.communicate()  # which closes the pipes, too


async def test_a_stopped_holder_is_fenced(kernel: Running, holder: Holder) -> None:
    token = (await holder.told())["token"]
    assert await holder.write(1) == {"written": 1, "refused": 0, "knew": False}
    async with connect_insecure(kernel.kernel.addresses[0]) as client:
        holder.process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(60), client.locks().lock("x", wait=60) as taken:
            assert taken.token > token
            holder.process.send_signal(signal.SIGCONT)
            assert await holder.write(TRIES) == {"written": 0, "refused": TRIES, "knew": True}
            assert taken.held
        # Neither does it hold again once nobody does.
        assert await holder.write(TRIES) == {"written": 0, "refused": TRIES, "knew": True}


async def test_who_hears_nothing_of_the_kernel_takes_the_lock_for_lost() -> None:
    with dev() as process:
        (address,) = (await asyncio.to_thread(process.json))["addresses"]
        async with connect_insecure(address) as client:
            held = await client.locks().lock("x", ttl=TTL).__aenter__()
            lead = await client.locks().election("x").campaign(ttl=TTL).__aenter__()
            process._process.send_signal(signal.SIGSTOP)
            async with asyncio.timeout(30):
                await held.lost.wait()
                with pytest.raises(SiraError):
                    await lead.proclaim(b"x")
            assert (held.held, lead.leads, lead.lost.is_set()) == (False, False, True)
            assert isinstance(held.error, LockLostError)
            process._process.send_signal(signal.SIGCONT)
            await held.close()
            assert held.lost.is_set()
            async with client.locks().lock("x", ttl=TTL) as again:
                assert again.token > held.token
