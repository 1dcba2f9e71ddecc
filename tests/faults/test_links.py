"""The relay does to connections what it is told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.faults.links import Links, network

PATIENCE = 10


@asynccontextmanager
async def echo() -> AsyncIterator[int]:
    """A port that sends back what it gets."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(1 << 16):
                writer.write(data)
                await writer.drain()
        except OSError:
            pass  # it was cut
        finally:
            writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    try:
        yield int(server.sockets[0].getsockname()[1])
    finally:
        server.close()


class Connection:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def receive(self, size: int) -> bytes:
        async with asyncio.timeout(PATIENCE):
            return await self.reader.readexactly(size)


@asynccontextmanager
async def connected(port: int) -> AsyncIterator[Connection]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()


@asynccontextmanager
async def linked() -> AsyncIterator[tuple[Links, int]]:
    async with network() as links, echo() as port:
        yield links, await links.open("a", port)


async def test_passes_what_comes_whole_and_in_order() -> None:
    data = bytes(range(256)) * 10_000
    async with linked() as (_, port), connected(port) as connection:
        connection.send(data)
        assert await connection.receive(len(data)) == data


async def test_what_is_held_comes_when_the_link_passes_again() -> None:
    async with linked() as (links, port), connected(port) as connection:
        connection.send(b"1")
        assert await connection.receive(1) == b"1"
        await links.hold(["a"])
        connection.send(b"2")
        async with connected(port) as late:
            late.send(b"3")
            held = [asyncio.create_task(each.receive(1)) for each in (connection, late)]
            # Another link passes meanwhile, to and fro: what is held has had every chance.
            await links.open("b", port)
            await links.mend(["b"])
            assert not any(each.done() for each in held)
            await links.mend(["a"])
            assert await asyncio.gather(*held) == [b"2", b"3"]


async def test_a_cut_link_resets_what_is_there_and_what_comes() -> None:
    async with linked() as (links, port), connected(port) as connection:
        connection.send(b"1")
        await connection.receive(1)
        await links.cut(["a"])
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            await connection.receive(1)
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            async with connected(port) as late:  # that may be too late too
                await late.receive(1)
        await links.mend(["a"])
        async with connected(port) as mended:
            mended.send(b"2")
            assert await mended.receive(1) == b"2"


async def test_a_slow_link_keeps_the_order() -> None:
    data = bytes(range(256)) * 1_000
    async with linked() as (links, port), connected(port) as connection:
        await links.delay(["a"], 0.01)
        connection.send(data)
        assert await connection.receive(len(data)) == data


async def test_a_link_to_nowhere_is_closed() -> None:
    async with network() as links, echo() as port:
        pass
    async with network() as links:
        with pytest.raises((ConnectionResetError, asyncio.IncompleteReadError)):
            async with connected(await links.open("a", port)) as connection:
                await connection.receive(1)
