"""A client that calls a method whose name is no UTF-8 ends nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from tests.raw_call import request
from tests.unit.agent.kernel_double import KernelDouble
from tests.unit.agent.workload import served


@pytest.mark.parametrize("path", [b"/SpiffeWorkloadAPI/\xdc", b"\xff", b"/\xe2\x82/a"])
async def test_the_server_goes_on(kernel: KernelDouble, place: Path, path: bytes) -> None:
    async with served(kernel, place) as (_, asking):
        stream = asking.x509_svids()
        first = await stream.read()
        reader, writer = await asyncio.open_unix_connection(place / "run" / "agent.sock")
        writer.write(request(path))
        async with asyncio.timeout(10):
            while b"grpc-status" not in await reader.read(4096):
                pass
        writer.close()
        assert await asking.x509_svids().read() == first
