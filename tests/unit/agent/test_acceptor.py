"""The front: what goes through it, and what becomes of those who behave badly."""

from __future__ import annotations

import asyncio
import os
import resource
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest

from sira_grpc.agent.acceptor import Acceptor
from sira_grpc.agent.attestation import NotAttested, Process


class Inner:
    """What is behind the front: says who its peers are, and echoes what they send."""

    def __init__(self) -> None:
        self.peers: list[str] = []
        self.writers: list[asyncio.StreamWriter] = []
        self.open = 0
        self.arrived = asyncio.Condition()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.peers.append("unix-abstract:" + writer.get_extra_info("peername")[1:].decode())
        self.writers.append(writer)
        self.open += 1
        async with self.arrived:
            self.arrived.notify_all()
        try:
            while data := await reader.read(65_536):
                writer.write(data)
                await writer.drain()
        except ConnectionError:
            pass  # who went away
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            self.open -= 1
            async with self.arrived:
                self.arrived.notify_all()


@asynccontextmanager
async def front(place: Path, **limits: int) -> AsyncIterator[tuple[Acceptor, Inner, str]]:
    """An acceptor that runs, and where."""
    inner = Inner()
    path = str(place / "public")
    server = await asyncio.start_unix_server(inner.handle, place / "private")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(path)
    listener.listen(1024)
    listener.setblocking(False)
    acceptor = Acceptor(place / "private", random_bytes=secrets.token_bytes, **limits)
    running = asyncio.create_task(acceptor.run(listener))
    try:
        yield acceptor, inner, path
    finally:
        running.cancel()
        await asyncio.wait({running})
        listener.close()
        await acceptor.close()
        server.close()
        await server.wait_closed()


async def ended(acceptor: Acceptor, connections: int = 0) -> None:
    """Returns once no more than so many connections are left."""
    while acceptor.connections > connections:
        await asyncio.wait(acceptor._connections, return_when=asyncio.FIRST_COMPLETED)


async def until(inner: Inner, condition: Callable[[], object]) -> None:
    async with inner.arrived:
        await inner.arrived.wait_for(condition)


async def test_bytes_go_both_ways_and_the_process_is_known(place: Path) -> None:
    async with front(place) as (acceptor, inner, path):
        reader, writer = await asyncio.open_unix_connection(path)
        sent = secrets.token_bytes(3_000_000)
        writer.write(sent)
        assert await reader.readexactly(len(sent)) == sent
        process = acceptor.process_of(inner.peers[0])
        assert process == Process(os.getpid(), os.geteuid(), os.getegid(), os.readlink("/proc/self/exe"))
        writer.close()
        await ended(acceptor)
        assert acceptor.process_of(inner.peers[0]) is None


@pytest.mark.parametrize("peer", ["", "unix:", "unix-abstract:", "unix-abstract:sira-0", "ipv4:127.0.0.1:1", "sira-0"])
async def test_who_did_not_come_through_is_not_known(place: Path, peer: str) -> None:
    async with front(place) as (acceptor, _, _path):
        assert acceptor.process_of(peer) is None


async def test_one_user_gets_so_many_connections_and_no_more(place: Path) -> None:
    async with front(place, most_per_uid=2) as (acceptor, inner, path):
        first = await asyncio.open_unix_connection(path)
        second = await asyncio.open_unix_connection(path)
        await until(inner, lambda: len(inner.peers) == 2)
        reader, writer = await asyncio.open_unix_connection(path)
        assert await reader.read() == b""
        writer.close()
        first[1].close()
        await ended(acceptor, 1)
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"
        for each in (writer, second[1]):
            each.close()


async def test_all_together_get_so_many_connections_and_no_more(place: Path) -> None:
    async with front(place, most=1) as (_, inner, path):
        _, first = await asyncio.open_unix_connection(path)
        await until(inner, lambda: len(inner.peers) == 1)
        reader, writer = await asyncio.open_unix_connection(path)
        assert await reader.read() == b""
        writer.close()
        first.close()


async def test_many_who_come_and_go_at_once_leave_nothing_behind(place: Path) -> None:
    async with front(place) as (acceptor, inner, path):
        open_files = len(os.listdir("/proc/self/fd"))

        async def come_and_go(number: int) -> None:
            reader, writer = await asyncio.open_unix_connection(path)
            if number % 2:
                writer.write(secrets.token_bytes(number * 100))
            if number % 3 == 0:
                await reader.read(1) if number % 2 else None
            if number % 5 == 0:
                writer.transport.abort()
            writer.close()

        for _ in range(5):
            await asyncio.gather(*(come_and_go(number) for number in range(150)))
        await ended(acceptor)
        assert acceptor._processes == {}
        assert not acceptor._of_uid
        await until(inner, lambda: not inner.open)
        assert len(os.listdir("/proc/self/fd")) <= open_files  # what tests before left may have gone meanwhile


async def test_who_does_not_read_holds_only_his_own_connection_back(place: Path) -> None:
    async with front(place) as (acceptor, _inner, path):
        _, stuck = await asyncio.open_unix_connection(path)
        stuck.transport.pause_reading()  # type: ignore[attr-defined] # a transport that reads too
        stuck.write(secrets.token_bytes(5_000_000))
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"quick")
        assert await reader.readexactly(5) == b"quick"
        writer.close()
        stuck.transport.abort()
        await ended(acceptor)


async def test_when_what_is_behind_goes_the_connection_ends(place: Path) -> None:
    async with front(place) as (acceptor, inner, path):
        reader, writer = await asyncio.open_unix_connection(path)
        await until(inner, lambda: inner.writers)
        inner.writers[0].write(b"last words")
        inner.writers[0].close()
        assert await reader.read() == b"last words"
        writer.close()
        await ended(acceptor)


async def test_who_cannot_be_attested_is_not_served(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def ended(connection: socket.socket) -> Process:
        raise NotAttested("it has ended")

    monkeypatch.setattr("sira_grpc.agent.acceptor.attest", ended)
    async with front(place) as (acceptor, inner, path):
        reader, writer = await asyncio.open_unix_connection(path)
        assert await reader.read() == b""
        writer.close()
        assert inner.peers == []
        assert not acceptor._of_uid


async def test_when_nothing_is_behind_the_connection_ends(place: Path) -> None:
    async with front(place) as (acceptor, _, path):
        acceptor._private = str(place / "nothing")
        reader, writer = await asyncio.open_unix_connection(path)
        assert await reader.read() == b""
        writer.close()


async def test_it_accepts_again_after_it_ran_out_of_file_descriptors(
    place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sira_grpc.agent.acceptor._PAUSE_SECONDS", 0.01)
    told = asyncio.Event()
    monkeypatch.setattr("sira_grpc.agent.acceptor._log.error", lambda *record: told.set())
    async with front(place) as (_, _inner, path):
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        with socket.socket(socket.AF_UNIX) as client:
            used = max(int(name) for name in os.listdir("/proc/self/fd"))
            resource.setrlimit(resource.RLIMIT_NOFILE, (used + 1, hard))
            taken = []
            try:
                with suppress(OSError):
                    while True:
                        taken.append(os.dup(0))
                client.connect(path)
                await asyncio.wait_for(told.wait(), 5)
            finally:
                for handle in taken:
                    os.close(handle)
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        reader, writer = await asyncio.open_unix_connection(path)
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"
        writer.close()
