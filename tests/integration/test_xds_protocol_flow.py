"""Clients of xDS that read slowly or not at all, and those that ask faster than they read."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self

import grpc
import pytest
import pytest_asyncio
from grpc import aio

from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS
from tests.integration.xds_client import MODES, PATIENCE, Mode, XdsClient, opened
from tests.integration.xds_kernel import XdsKernel, address_of, running

pytestmark = pytest.mark.asyncio(loop_scope="module")
both = pytest.mark.parametrize("mode", MODES)
CHANGES = 12


class Crowd:
    """A service whose endpoints fill more than the connection of a client takes that does not read."""

    def __init__(self, kernel: XdsKernel) -> None:
        self.kernel = kernel
        self.name = ""
        self.size = 2500

    async def make(self) -> Self:
        self.name = await self.kernel.service(*(f"e{number}" for number in range(1, self.size + 1)))
        return self

    async def grow(self, reader: XdsClient, times: int) -> None:
        """Adds endpoints, each once a client has read that the one before is there."""
        for _ in range(times):
            self.size += 1
            await self.kernel.add(self.name, f"e{self.size}")
            await self.until(reader)

    async def until(self, reader: XdsClient) -> int:
        """Reads until all endpoints are there; returns how many answers that took."""
        answers = 1
        while len((await reader.told(ENDPOINTS)).addresses(self.name)) != self.size:
            answers += 1
        return answers


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def kernel(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[XdsKernel]:
    async with running(tmp_path_factory.mktemp("kernel")) as made:
        yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def crowd(kernel: XdsKernel) -> Crowd:
    return await Crowd(kernel).make()


@asynccontextmanager
async def narrow(kernel: XdsKernel, mode: Mode) -> AsyncIterator[XdsClient]:
    """A client whose connection takes 64 KiB before somebody reads."""
    options = [("grpc.http2.bdp_probe", 0), ("grpc.use_local_subchannel_pool", 1)]
    async with aio.insecure_channel(kernel.address, options=options) as channel, opened(channel, mode) as client:
        yield client


@both
async def test_who_is_slow_to_read_gets_the_latest(kernel: XdsKernel, crowd: Crowd, mode: Mode) -> None:
    async with kernel.client(mode) as quick, narrow(kernel, mode) as slow:
        await slow.get(ENDPOINTS, crowd.name)
        await quick.get(ENDPOINTS, crowd.name)
        await crowd.grow(quick, CHANGES)
        assert await crowd.until(slow) <= CHANGES // 2
        await slow.quiet()


@both
async def test_who_does_not_read_goes_when_it_hangs_up(kernel: XdsKernel, crowd: Crowd, mode: Mode) -> None:
    await kernel.settled()
    async with kernel.client(mode) as quick, narrow(kernel, mode) as slow:
        await slow.subscribe(ENDPOINTS, crowd.name)
        await quick.get(ENDPOINTS, crowd.name)
        await crowd.grow(quick, 4)
        assert kernel.count() == 2
    await kernel.settled()


@both
async def test_a_drain_ends_though_somebody_does_not_read(tmp_path: Path, mode: Mode) -> None:
    async with running(tmp_path, drain_grace=0.2) as kernel:
        crowd = await Crowd(kernel).make()
        async with kernel.client(mode) as quick, narrow(kernel, mode) as slow:
            await slow.subscribe(ENDPOINTS, crowd.name)
            await quick.get(ENDPOINTS, crowd.name)
            await crowd.grow(quick, 4)
            async with asyncio.timeout(PATIENCE):
                await kernel.kernel.__aexit__(None, None, None)
            error = await quick.ended()
            assert error is not None
            assert error.code() is grpc.StatusCode.UNAVAILABLE


@both
async def test_who_asks_faster_than_it_reads(kernel: XdsKernel, mode: Mode) -> None:
    names = [await kernel.service("e1") for _ in range(40)]
    async with kernel.client(mode) as client:
        for name in names:
            await client.subscribe(ENDPOINTS, name)
        seen: set[str] = set()
        answers = 0
        while seen != set(names):
            answer = await client.told(ENDPOINTS)
            assert not seen & set(answer.resources), "what was sent is not sent again"
            seen.update(answer.resources)
            answers += 1
        assert answers <= len(names)
        await client.quiet()


@both
async def test_names_that_are_let_go_before_they_are_answered(kernel: XdsKernel, mode: Mode) -> None:
    names = [await kernel.service("e1") for _ in range(20)]
    last = names[-1]
    async with kernel.client(mode) as client:
        for name in names:
            await client.subscribe(CLUSTER, name)
            if name != last:
                await client.unsubscribe(CLUSTER, name)
        while last not in (await client.told(CLUSTER)).resources:
            pass
        await client.quiet()
        for name in names[:-1]:
            await kernel.delete(name)
        await kernel.still(client)


@both
async def test_who_never_acknowledges_gets_everything(kernel: XdsKernel, mode: Mode) -> None:
    name = await kernel.service("e1")
    async with kernel.client(mode) as client:
        await client.subscribe(ENDPOINTS, name)
        await client.read()
        for number in range(2, 20):
            await kernel.add(name, f"e{number}")
            while (await client.read()).addresses(name) != sorted(address_of(f"e{n}") for n in range(1, number + 1)):
                pass
