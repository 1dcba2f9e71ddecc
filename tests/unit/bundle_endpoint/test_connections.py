from __future__ import annotations

import asyncio
import errno
import logging
import resource
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from sira_grpc.bundle_endpoint import connections
from sira_grpc.bundle_endpoint.connections import Connections


async def echo(connection: socket.socket) -> None:
    """Sends back one piece."""
    loop = asyncio.get_running_loop()
    with connection:
        await loop.sock_sendall(connection, await loop.sock_recv(connection, 100))


async def talk(address: str) -> bytes:
    host, _, port = address.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(b"hello")
    try:
        return await reader.read()
    finally:
        writer.close()
        await writer.wait_closed()


@contextmanager
def no_descriptors() -> Iterator[None]:
    """This process has all the files open that it may have."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    held: list[socket.socket] = []
    resource.setrlimit(resource.RLIMIT_NOFILE, (200, limits[1]))
    try:
        with suppress(OSError):
            while True:
                held.append(socket.socket())
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
        for taken in held:
            taken.close()


async def test_many_are_served() -> None:
    served = Connections(echo, limit=3)
    address = await served.open("127.0.0.1:0")
    assert await asyncio.gather(*(talk(address) for _ in range(20))) == [b"hello"] * 20
    await served.close()


async def test_no_more_at_once_than_the_limit() -> None:
    now = most = 0

    async def count(connection: socket.socket) -> None:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await echo(connection)
        now -= 1

    served = Connections(count, limit=3)
    address = await served.open("127.0.0.1:0")
    await asyncio.gather(*(talk(address) for _ in range(20)))
    await served.close()
    assert most == 3


async def test_one_that_fails_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    async def fail(connection: socket.socket) -> None:
        connection.close()
        raise RuntimeError("broken")

    served = Connections(fail, limit=1)
    address = await served.open("127.0.0.1:0")
    for _ in range(2):
        with suppress(ConnectionError):
            assert await talk(address) == b""
    await served.close()
    assert [record.message for record in caplog.records] == ["a connection failed"] * 2


async def test_one_that_was_not_begun_is_closed() -> None:
    served = Connections(echo, limit=5)
    host, _, port = (await served.open("127.0.0.1:0")).rpartition(":")
    with socket.create_connection((host, int(port))) as client:
        served._accept(served._listeners[0])
        await served.close()
        client.settimeout(5)
        assert client.recv(1) == b""


async def test_one_that_broke_off_is_no_trouble() -> None:
    served = Connections(echo, limit=5)
    address = await served.open("127.0.0.1:0")
    served._accept(served._listeners[0])  # where nobody is
    assert await talk(address) == b"hello"
    await served.close()


async def test_a_machine_that_has_run_out_of_files(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(connections, "_RETRY_SECONDS", 0.01)
    served = Connections(echo, limit=5)
    address = await served.open("127.0.0.1:0")
    host, _, port = address.rpartition(":")
    with socket.socket() as client:
        with no_descriptors():
            client.connect((host, int(port)))
            served._accept(served._listeners[0])
        assert [record.levelno for record in caplog.records] == [logging.WARNING]
        client.sendall(b"hello")
        client.setblocking(False)
        assert await asyncio.get_running_loop().sock_recv(client, 100) == b"hello"
    await served.close()


async def test_closing_while_it_is_held_up() -> None:
    served = Connections(echo, limit=5)
    address = await served.open("127.0.0.1:0")
    host, _, port = address.rpartition(":")
    with socket.socket() as client, no_descriptors():
        client.connect((host, int(port)))
        served._accept(served._listeners[0])
        assert served._retry is not None
        await served.close()
        assert served._retry.cancelled()


async def test_an_address_of_a_name_that_is_absent_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the IPv6 address of localhost is where there is no IPv6."""
    loop = asyncio.get_running_loop()

    async def resolve(host: str, port: int, **_: object) -> list[object]:
        kind = (socket.SOCK_STREAM, 6, "")
        absent = (socket.AF_INET, *kind, ("192.0.2.1", port))
        return [absent, (socket.AF_INET, *kind, ("127.0.0.1", port)), absent]

    monkeypatch.setattr(loop, "getaddrinfo", resolve)
    served = Connections(echo, limit=5)
    address = await served.open("some.test:0")
    monkeypatch.undo()
    assert await talk(f"127.0.0.1:{address.rpartition(':')[2]}") == b"hello"
    await served.close()


async def test_all_of_a_name_or_none(monkeypatch: pytest.MonkeyPatch) -> None:
    """An address that is taken is an error, even if another one is free."""
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        loop = asyncio.get_running_loop()

        async def resolve(host: str, port: int, **_: object) -> list[object]:
            kind = (socket.SOCK_STREAM, 6, "")
            return [(socket.AF_INET, *kind, (ip, port)) for ip in ("127.0.0.1", "127.0.0.2")]

        monkeypatch.setattr(loop, "getaddrinfo", resolve)
        served = Connections(echo, limit=5)
        with pytest.raises(OSError, match="in use") as caught:
            await served.open(f"some.test:{port}")
        assert caught.value.errno == errno.EADDRINUSE
        await served.close()
    with socket.create_server(("127.0.0.1", port)):
        pass
