"""The identity agent with a real kernel: joining, rotations of the root to their ends, restarts, revocation."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509
from sira.identity.v1.rotation_pb2 import RotationStage

from sira_grpc.agent import Agent, KernelNotTrusted, join
from sira_grpc.agent.settling import passed
from sira_grpc.svid import identity_directory, x509_svid
from tests.integration.agent_world import CHECKOUT, DOMAIN, LEGACY, MINE, NODE, PATIENCE, KernelWorld
from tests.unit.agent.workload import Program, program, written


@pytest.fixture
def place() -> Iterator[Path]:
    """A folder with a short path, as Unix sockets want it."""
    made = Path(tempfile.mkdtemp(prefix="sira-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[KernelWorld]:
    async with KernelWorld(tmp_path) as made:
        yield made


def files(place: Path) -> list[dict[str, str]]:
    return [{"identity": LEGACY, "directory": str(place / "legacy")}]


async def test_it_joins_serves_and_writes(world: KernelWorld, place: Path) -> None:
    socket = place / "agent.sock"
    configured = world.config(socket, files=files(place))
    async with Agent(configured, place / "home", joining=await world.joining()) as agent, program(socket) as asking:
        assert agent.identity == NODE
        await written(agent, LEGACY)
        answer = await asking.x509_svids().read()
        assert [svid.spiffe_id for svid in answer.svids] == [f"spiffe://{DOMAIN}/{CHECKOUT}"]
        leaf = x509_svid.read_der(answer.svids[0].x509_svid[: int.from_bytes(answer.svids[0].x509_svid[2:4]) + 4])
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        assert names.get_values_for_type(x509.DNSName) == [f"checkout.default.{DOMAIN}"]
        token = (await asking.jwt_svids("me")).svids[0]
        assert (await asking.validate(token.svid, "me")).spiffe_id == f"spiffe://{DOMAIN}/{CHECKOUT}"
        held = x509_svid.read_pem(identity_directory.read(place / "legacy").svid)[0]
        assert str(x509_svid.identity_of(held)) == f"spiffe://{DOMAIN}/{LEGACY}"


async def test_what_was_not_delegated_is_not_given(world: KernelWorld, place: Path) -> None:
    from tests.unit.agent.workload import failure

    socket = place / "agent.sock"
    configured = world.config(socket, workloads=[{**MINE, "identity": "operator/root"}])
    async with Agent(configured, place / "home", joining=await world.joining()), program(socket) as asking:
        code, details = await failure(asking.x509_svids().read())
        assert code.name == "PERMISSION_DENIED"
        assert "is not delegated to" in details


async def rotated(world: KernelWorld, asking: Program) -> list[int]:
    """Rotates the root to the end, and returns how many roots a program that follows saw each time."""
    stream = asking.x509_svids()
    seen = [_roots((await stream.read()).svids[0].bundle)]
    await world.identity.rotator.start()
    await world.until(None)
    while seen[-1] != 1 or len(seen) == 1:
        seen.append(_roots((await stream.read()).svids[0].bundle))
    stream.cancel()
    return seen


def _roots(bundle: bytes) -> int:
    found = 0
    while bundle:
        bundle, found = bundle[int.from_bytes(bundle[2:4]) + 4 :], found + 1
    return found


async def test_rotations_go_through_by_themselves(world: KernelWorld, place: Path) -> None:
    socket = place / "agent.sock"
    configured = world.config(socket, files=files(place))
    async with Agent(configured, place / "home", joining=await world.joining()) as agent, program(socket) as asking:
        await written(agent, LEGACY)
        for _ in range(3):
            async with asyncio.timeout(PATIENCE):
                seen = await rotated(world, asking)
            assert seen[0] == seen[-1] == 1
            assert 2 in seen
            (authority,) = world.identity.status().authorities
            for directory in (place / "home", place / "legacy"):
                (root,) = x509_svid.read_pem(identity_directory.read(directory).bundle)
                assert x509_svid.to_der(root) == world.identity.trust.bundle().x509_authorities[0]
            assert authority.live_certificates >= 3  # the node, the program, the files
            assert (await asking.jwt_svids("me")).svids
        assert not agent.failed


async def test_a_rotation_goes_on_after_the_kernel_and_the_agent_have_started_again(
    world: KernelWorld, place: Path
) -> None:
    configured = world.config(files=files(place))
    async with Agent(configured, place / "home", joining=await world.joining()) as agent:
        await written(agent, LEGACY)
        held_up = world.identity.watchers.open(acknowledges=True)
        await world.identity.rotator.start()
        await on_disk(agent, lambda: b"".join(_bundles(place)).count(b"BEGIN") == 4)
    held_up.close()
    # What the agent holds counts while it is down: the rotation waits until it is renewed.
    await world.until(RotationStage.ROTATION_STAGE_ISSUING)
    await world.stop()
    await world.start()
    async with Agent(configured, place / "home") as agent:
        await world.until(None)
        assert not agent.failed
        await written(agent, LEGACY)
    (root,) = x509_svid.read_pem(identity_directory.read(place / "legacy").bundle)
    assert x509_svid.to_der(root) == world.identity.trust.bundle().x509_authorities[0]


async def on_disk(agent: Agent, condition: Callable[[], bool]) -> None:
    """Returns once a condition holds of what an agent keeps on disk."""
    assert agent._holdings is not None
    feed = agent._holdings.files
    subscriber = feed.subscribe(feed.revision)
    while True:
        subscriber.sent(feed.revision)
        await passed(feed)
        if condition():
            break
        await subscriber.wait()
    subscriber.close()


def _bundles(place: Path) -> list[bytes]:
    return [identity_directory.read(place / name).bundle for name in ("home", "legacy")]


async def test_it_survives_a_kernel_that_starts_again(world: KernelWorld, place: Path) -> None:
    socket = place / "agent.sock"
    joining = await world.joining()
    async with Agent(world.config(socket), place / "home", joining=joining) as agent, program(socket) as asking:
        first = await asking.x509_svids().read()
        for _ in range(2):
            await world.stop()
            assert await asking.x509_svids().read() == first
            await world.start()
        stream = asking.x509_bundles()
        await stream.read()
        await world.identity.records.revoke_identity(f"spiffe://{DOMAIN}/{CHECKOUT}", cause="a test", actor="test")
        assert (await stream.read()).crl
        assert not agent.failed


async def test_a_node_that_is_revoked_fails(world: KernelWorld, place: Path) -> None:
    async with Agent(world.config(), place / "home", joining=await world.joining()) as agent:
        await world.identity.records.revoke_identity(NODE, cause="a test", actor="test")
        async with asyncio.timeout(PATIENCE):
            await agent.run_until_signal()
        assert agent.failed
        assert "CREDENTIAL_REVOKED" in agent.failure


async def test_a_token_of_before_a_rotation_is_explained(world: KernelWorld, place: Path) -> None:
    joining = await world.joining()
    await world.identity.rotator.start()
    await world.until(None)
    with pytest.raises(KernelNotTrusted, match="it was rotated since"):
        await join(joining, place / "home")
