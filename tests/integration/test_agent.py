"""The identity agent as local programs meet it: processes of several users and paths, and clients by others."""

from __future__ import annotations

import asyncio
import os
import queue
import secrets
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import spiffe
import yaml
from cryptography.hazmat.primitives.serialization import Encoding
from spiffe import JwtSource, WorkloadApiClient, X509Source
from spiffe.errors import PySpiffeError

from sira_grpc.agent import Agent
from sira_grpc.svid import x509_svid
from tests.integration.agent_world import (
    CHECKOUT,
    DOMAIN,
    LEGACY,
    MINE,
    PATIENCE,
    KernelWorld,
    Workload,
    copy_of_python,
)
from tests.integration.sira_process import SiraProcess
from tests.unit.agent.workload import program

ID = f"spiffe://{DOMAIN}/{CHECKOUT}"
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can start processes of another user")
OTHER = 12_345
"""A user who is not there."""


@pytest.fixture
def place() -> Iterator[Path]:
    """Open to every user, and with a short path, as Unix sockets want it."""
    made = Path(tempfile.mkdtemp(prefix="sira-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[KernelWorld]:
    async with KernelWorld(tmp_path) as made:
        yield made


@pytest.fixture
async def served(world: KernelWorld, place: Path) -> AsyncIterator[Path]:
    """The socket of an agent that gives this user's programs one identity."""
    path = place / "agent.sock"
    async with Agent(world.config(path), place / "home", joining=await world.joining()):
        yield path


@as_root
async def test_programs_are_told_apart_by_user(world: KernelWorld, place: Path) -> None:
    path = place / "agent.sock"
    entries = [{"identity": CHECKOUT, "uid": OTHER, "gid": OTHER}, {"identity": LEGACY, "uid": OTHER + 1}]
    async with (
        Agent(world.config(path, workloads=entries), place / "home", joining=await world.joining()),
        Workload(path, uid=OTHER) as checkout,
        Workload(path, uid=OTHER + 1) as legacy,
        Workload(path, uid=OTHER + 2) as stranger,
        Workload(path) as root,
    ):
        assert list(await checkout.svids()) == [ID]
        assert list(await legacy.svids()) == [f"spiffe://{DOMAIN}/{LEGACY}"]
        for nobody, uid in ((stranger, OTHER + 2), (root, 0)):
            answer = await nobody.answer()
            assert answer["code"] == "PERMISSION_DENIED"
            assert f"no entry matches process {nobody.pid}, uid {uid}, " in answer["details"]


async def test_programs_are_told_apart_by_path(world: KernelWorld, place: Path) -> None:
    path = place / "agent.sock"
    with copy_of_python(place, "checkout") as right, copy_of_python(place, "another") as wrong:
        entries = [{"identity": CHECKOUT, "uid": os.geteuid(), "path": right}]
        async with (
            Agent(world.config(path, workloads=entries), place / "home", joining=await world.joining()),
            Workload(path, program=right) as checkout,
            Workload(path, program=wrong) as another,
        ):
            assert list(await checkout.svids()) == [ID]
            answer = await another.answer()
            assert answer["code"] == "PERMISSION_DENIED"
            assert answer["details"].endswith(f"path {wrong}")


def _client(path: Path) -> WorkloadApiClient:
    return WorkloadApiClient(f"unix:{path}", default_timeout=PATIENCE)


async def test_the_spiffe_client_gets_all_that_the_api_has(served: Path) -> None:
    def ask() -> None:
        with _client(served) as client:
            svid = client.fetch_x509_svid()
            assert str(svid.spiffe_id) == ID
            domain = svid.spiffe_id.trust_domain
            bundle = client.fetch_x509_bundles().get_bundle_for_trust_domain(domain)
            assert bundle is not None
            chain = [x509_svid.read_der(one.public_bytes(Encoding.DER)) for one in svid.cert_chain]
            roots = [x509_svid.read_der(one.public_bytes(Encoding.DER)) for one in bundle.x509_authorities]
            now = chain[0].not_valid_before_utc.timestamp() + 400
            assert x509_svid.verify(chain[0], chain[1:], {DOMAIN: roots}, now=now).identity.path == CHECKOUT
            token = client.fetch_jwt_svid({"orders"})
            assert str(token.spiffe_id) == ID
            keys = client.fetch_jwt_bundles().get_bundle_for_trust_domain(domain)
            assert keys is not None
            assert spiffe.JwtSvid.parse_and_validate(token.token, keys, {"orders"}).audience == {"orders"}
            assert str(client.validate_jwt_svid(token.token, "orders").spiffe_id) == ID
            with pytest.raises(PySpiffeError, match="not for the audience"):
                client.validate_jwt_svid(token.token, "another")

    await asyncio.to_thread(ask)


async def test_the_spiffe_sources_follow_a_rotation(world: KernelWorld, served: Path) -> None:
    source = await asyncio.to_thread(X509Source, socket_path=f"unix:{served}", timeout_in_seconds=PATIENCE)
    tokens = await asyncio.to_thread(JwtSource, socket_path=f"unix:{served}", timeout_in_seconds=PATIENCE)
    updates: queue.Queue[tuple[int, int]] = queue.Queue()

    def updated() -> None:
        context = source.get_x509_context()
        bundle = source.get_bundle_for_trust_domain(context.default_svid.spiffe_id.trust_domain)
        assert bundle is not None
        updates.put((context.default_svid.leaf.serial_number, len(bundle.x509_authorities)))

    try:
        source.subscribe_for_updates(updated)
        first = source.get_x509_context().default_svid.leaf.serial_number
        before = await asyncio.to_thread(tokens.fetch_svid, {"orders"})
        await world.identity.rotator.start()
        await world.until(None)
        serial, roots = first, 0
        while serial == first or roots != 1:
            serial, roots = await asyncio.to_thread(updates.get, timeout=PATIENCE)
        after = await asyncio.to_thread(tokens.fetch_svid, {"orders"})
        assert after.token != before.token
    finally:
        await asyncio.to_thread(source.close)
        await asyncio.to_thread(tokens.close)


async def test_an_agent_that_is_killed_starts_again_and_its_programs_go_on(world: KernelWorld, place: Path) -> None:
    path = place / "run" / "agent.sock"
    config = place / "agent.yaml"
    config.write_text(
        yaml.safe_dump(
            world.settings(path, workloads=[MINE], files=[{"identity": LEGACY, "directory": str(place / "legacy")}])
        )
    )
    secret = await world.secret(f"spiffe://{DOMAIN}/node/one", f"spiffe://{DOMAIN}/ns/*/svc/*")
    arguments = ("identity", "agent", "-o", "json", "--config", str(config), "--dir", str(place / "home"))
    joining = ("--join", world.token_door, "--name", "node/one")
    with SiraProcess(*arguments, *joining, environment={"SIRA_JOIN_TOKEN": str(secret)}) as agent:
        ready = await asyncio.to_thread(agent.json)
        assert ready["identity"] == f"spiffe://{DOMAIN}/node/one"
        async with Workload(path) as checkout:
            first = await checkout.svids()
            await asyncio.to_thread(agent.kill)
            assert (await checkout.answer())["code"] == "UNAVAILABLE"
            assert (place / "run" / "agent.sock").exists()
            with SiraProcess(*arguments) as again:
                await asyncio.to_thread(again.json)
                second = await checkout.svids()
                assert list(second) == list(first) == [ID]
                assert second != first
                assert await asyncio.to_thread(again.interrupt) == 0
    assert list((place / "run").iterdir()) == []


GARBAGE = [
    b"",
    b"\0",
    b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\xff" * 100,
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0" + b"\0\0\5\1\5\0\0\0\1" + b"\x82\x86\x84\x41\x8c",
    secrets.token_bytes(100_000),
]


@pytest.mark.parametrize("half", [False, True], ids=["closed", "closed half-way"])
async def test_garbage_disturbs_nobody(served: Path, half: bool) -> None:
    async with program(served) as asking:
        stream = asking.x509_svids()
        first = await stream.read()

        async def send(data: bytes) -> None:
            reader, writer = await asyncio.open_unix_connection(str(served))
            writer.write(data[: len(data) // 2 if half else len(data)])
            if half:
                writer.write_eof()
                await reader.read()
            writer.close()

        for _ in range(5):
            await asyncio.gather(*(send(data) for data in GARBAGE * 3), return_exceptions=True)
        assert await asking.x509_svids().read() == first


async def test_many_programs_at_once(served: Path) -> None:
    async def ask(_: int) -> Any:
        async with program(served) as asking:
            return await asking.x509_svids().read()

    answers = await asyncio.gather(*(ask(number) for number in range(100)))
    assert all(answer == answers[0] for answer in answers)


async def test_one_user_cannot_keep_the_agent_busy(served: Path) -> None:
    """Whoever has too many connections is refused more, and those that he has go on."""
    async with program(served) as asking:
        stream = asking.x509_svids()
        first = await stream.read()
        idle = []
        for _ in range(250):
            connection = socket.socket(socket.AF_UNIX)
            connection.setblocking(False)
            idle.append(connection)
            await asyncio.get_running_loop().sock_connect(connection, str(served))
        assert await asking.x509_svids().read() == first
        refused = 0
        for connection in idle[-50:]:
            refused += await asyncio.get_running_loop().sock_recv(connection, 1) == b""
        assert refused == 50
        for connection in idle:
            connection.close()
