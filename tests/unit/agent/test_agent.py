"""The whole agent, with a kernel that the test leads: joining, following, surviving, ending."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from sira_client.errors import SiraError, UnauthenticatedError

from sira_grpc.agent import Agent, IdentityLost, Joining, KernelNotTrusted, KernelUnreachable, join
from sira_grpc.errors import ConfigError
from sira_grpc.svid import identity_directory
from sira_grpc.svid.x509_svid import read_pem, serial_of
from tests.unit.agent.authority_double import AuthorityDouble
from tests.unit.agent.kernel_double import DOMAIN, KernelDouble
from tests.unit.agent.test_workload_api import verify
from tests.unit.agent.workload import CHECKOUT, config, failure, joining, program, served

NODE = "node/one"


async def test_it_joins_and_keeps_its_identity_on_disk(kernel: KernelDouble, place: Path) -> None:
    async with Agent(config(kernel), place / "home", joining=joining(kernel)) as agent:
        assert agent.identity == f"spiffe://{DOMAIN}/{NODE}"
        await kernel.acknowledged(kernel.revision)
        assert not agent.failed
    held = identity_directory.read(place / "home")
    assert serial_of(read_pem(held.svid)[0]) == kernel.certificates(NODE)[-1]


async def test_it_takes_its_identity_up_again_without_a_token(kernel: KernelDouble, place: Path) -> None:
    async with Agent(config(kernel), place / "home", joining=joining(kernel)):
        await kernel.acknowledged(kernel.revision)
    async with Agent(config(kernel), place / "home") as agent:
        await kernel.watched()
        await kernel.acknowledged(kernel.revision)
        assert agent.identity == f"spiffe://{DOMAIN}/{NODE}"
    assert len(kernel.certificates(NODE)) == 2  # it is renewed: who issued the one on disk is not written there


async def test_a_token_that_is_used_up_does_not_matter_when_there_is_an_identity(
    kernel: KernelDouble, place: Path
) -> None:
    right = joining(kernel)
    for _ in range(2):
        async with Agent(config(kernel), place / "home", joining=right):
            await kernel.watched()
            await kernel.acknowledged(kernel.revision)


async def test_without_identity_and_token_it_does_not_start(kernel: KernelDouble, place: Path) -> None:
    with pytest.raises(IdentityLost, match="holds no identity; join, with a join token"):
        async with Agent(config(kernel), place / "home"):
            pass


@pytest.mark.parametrize(
    ("change", "kind", "said"),
    [
        ({"identity": "node/two"}, SiraError, "not good for spiffe://example.test/node/two"),
        ({"identity": "spiffe://other.test/node/one"}, ConfigError, "not of the kernel's trust domain, example.test"),
        ({"identity": "node//one"}, ConfigError, "segment"),
        ({"address": "nowhere"}, ConfigError, "must be host:port"),
        ({"address": "127.0.0.1:1"}, KernelUnreachable, "cannot connect"),
    ],
)
async def test_a_joining_that_cannot_be(
    kernel: KernelDouble, place: Path, change: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        async with Agent(config(kernel), place / "home", joining=replace(joining(kernel), **change)):
            pass
    assert kernel.issued == []


async def test_a_token_is_good_once(kernel: KernelDouble, place: Path) -> None:
    right = joining(kernel)
    held = await join(right, place / "one")
    assert str(held.identity) == f"spiffe://{DOMAIN}/{NODE}"
    with pytest.raises(UnauthenticatedError) as refused:
        await join(right, place / "two")
    assert refused.value.reason == "JOIN_TOKEN_INVALID"


async def test_another_kernel_is_not_given_the_token(kernel: KernelDouble, place: Path) -> None:
    async with KernelDouble() as other:
        with pytest.raises(KernelNotTrusted, match="this is not your kernel"):
            await join(replace(joining(kernel), address=other.token_door), place / "home")


async def test_a_token_is_not_spent_on_a_directory_that_cannot_be_written(kernel: KernelDouble, place: Path) -> None:
    (place / "file").touch()
    right = joining(kernel)
    with pytest.raises(OSError, match="file"):
        await join(right, place / "file" / "home")
    assert await join(right, place / "home")


async def test_joining_asks_for_names_and_a_validity(kernel: KernelDouble, place: Path) -> None:
    right = joining(kernel)
    await join(Joining(right.address, right.secret, NODE, ("one.example.org",), 120), place / "home")
    assert [names for _, names, _ in kernel.issued] == [("one.example.org",)]


async def test_the_names_that_it_joined_with_are_kept(kernel: KernelDouble, place: Path) -> None:
    right = joining(kernel)
    await join(Joining(right.address, right.secret, NODE, ("one.example.org",)), place / "home")
    async with Agent(config(kernel), place / "home"):
        await kernel.until(lambda: len(kernel.issued) == 2)
    assert [names for _, names, _ in kernel.issued] == [("one.example.org",)] * 2


async def test_a_path_that_is_a_link_is_warned_of(
    kernel: KernelDouble, place: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (place / "link").symlink_to("/proc/self/exe")
    entry = {"identity": CHECKOUT, "uid": os.geteuid(), "path": str(place / "link")}
    async with served(kernel, place, workloads=[entry]):
        assert "workloads[0].path: " in caplog.text


async def test_a_rotation_of_the_root_goes_through_without_a_gap(kernel: KernelDouble, place: Path) -> None:
    """Each stage is acknowledged only when all is as it must be for the next one."""
    old, new = kernel.authorities[0], AuthorityDouble(DOMAIN)
    async with served(kernel, place) as (_, asking):
        stream = asking.x509_svids()
        before = (await stream.read()).svids[0]
        await kernel.acknowledged(kernel.revision)

        kernel.authorities.append(new)
        await kernel.acknowledged(await kernel.publish())
        both = (await stream.read()).svids[0]
        assert both.bundle == old.root_der + new.root_der
        assert both.x509_svid == before.x509_svid

        kernel.issuing = new
        await kernel.acknowledged(await kernel.publish())
        renewed = (await stream.read()).svids[0]
        assert verify(renewed, new.root_der)
        assert renewed.x509_svid_key != before.x509_svid_key
        own = identity_directory.read(place / "home")
        assert serial_of(read_pem(own.svid)[0]) == kernel.certificates(NODE)[-1]

        kernel.authorities.remove(old)
        await kernel.acknowledged(await kernel.publish())
        assert (await stream.read()).svids[0].bundle == new.root_der
        assert [len(kernel.certificates(identity)) for identity in (NODE, CHECKOUT)] == [2, 2]
        assert kernel.left_alone == 0  # with each new connection, the next watch is there before the last one goes


async def test_a_stage_is_not_acknowledged_while_something_is_not_renewed(kernel: KernelDouble, place: Path) -> None:
    from sira_grpc.errors import IdentityNotAllowed

    async with served(kernel, place) as (_, asking):
        await asking.x509_svids().read()
        await kernel.acknowledged(kernel.revision)
        refused = asyncio.Event()

        def refuse(identity: str) -> IdentityNotAllowed | None:
            if not identity.endswith(CHECKOUT):
                return None
            refused.set()
            return IdentityNotAllowed("not now")

        kernel.refusing = refuse
        kernel.authorities.append(AuthorityDouble(DOMAIN))
        kernel.issuing = kernel.authorities[1]
        revision = await kernel.publish()
        await refused.wait()
        await kernel.until(lambda: len(kernel.certificates(NODE)) == 2)
        assert all(revision not in watcher.acknowledged for watcher in kernel.watchers)
        # It is turned back: then what is held is by the right authority again, and nothing is waited for.
        kernel.issuing = kernel.authorities[0]
        await kernel.acknowledged(await kernel.publish())


async def test_it_goes_on_with_what_it_has_while_the_kernel_is_away(kernel: KernelDouble, place: Path) -> None:
    async with served(kernel, place) as (agent, asking):
        stream = asking.x509_svids()
        first = await stream.read()
        await kernel.acknowledged(kernel.revision)
        await kernel.stop()
        assert await asking.x509_svids().read() == first
        code, details = await failure(asking.jwt_svids("a"))
        assert code.name == "UNAVAILABLE"
        assert details.startswith(f"the kernel at {kernel.door}: ")
        kernel.revoked.add("abcdef")
        kernel.revision += 1
        await kernel.start()
        assert len((await stream.read()).crl) == 1
        await kernel.acknowledged(kernel.revision)
        assert (await asking.jwt_svids("a")).svids
        assert not agent.failed


async def test_it_starts_while_the_kernel_is_away(kernel: KernelDouble, place: Path) -> None:
    async with Agent(config(kernel), place / "home", joining=joining(kernel)):
        await kernel.acknowledged(kernel.revision)
    await kernel.stop()
    socket = place / "run" / "agent.sock"
    async with Agent(config(kernel, socket), place / "home") as agent, program(socket) as asking:
        assert list((await asking.x509_bundles().read()).bundles) == [f"spiffe://{DOMAIN}"]
        for call in (asking.x509_svids().read(), asking.jwt_bundles().read(), asking.validate("a.b.c", "a")):
            code, _ = await failure(call)
            assert code.name == "UNAVAILABLE"
        assert not agent.failed
        await kernel.start()
        await kernel.watched()
        await kernel.acknowledged(kernel.revision)
        assert (await asking.jwt_bundles().read()).bundles


async def test_a_node_that_is_revoked_fails(kernel: KernelDouble, place: Path) -> None:
    async with Agent(config(kernel), place / "home", joining=joining(kernel)) as agent:
        await kernel.acknowledged(kernel.revision)
        kernel.revoked.update(kernel.certificates(NODE))
        await kernel.publish()
        await asyncio.wait_for(agent.run_until_signal(), 20)
        assert agent.failed
        assert "CREDENTIAL_REVOKED" in agent.failure
        assert "join again" in agent.failure


async def test_a_node_whose_identity_expires_fails_and_joins_again(kernel: KernelDouble, place: Path) -> None:
    kernel.ttl, kernel.renew_after = 2.0, 1800.0
    async with Agent(config(kernel), place / "home", joining=joining(kernel)) as agent:
        await kernel.stop()
        await asyncio.wait_for(agent.run_until_signal(), 20)
        assert agent.failed
        assert "it has expired" in agent.failure or "cannot be renewed" in agent.failure
    await kernel.start()
    with pytest.raises(IdentityLost, match="join again"):
        async with Agent(config(kernel), place / "home"):
            pass
    kernel.ttl = 3600.0
    async with Agent(config(kernel), place / "home", joining=joining(kernel)) as agent:
        assert agent.identity


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_signal_ends_it(kernel: KernelDouble, place: Path, number: signal.Signals) -> None:
    async with Agent(config(kernel), place / "home", joining=joining(kernel)) as agent:
        running = asyncio.ensure_future(agent.run_until_signal())
        await asyncio.sleep(0)
        os.kill(os.getpid(), number)
        await running
        assert not agent.failed


async def test_it_leaves_nothing_behind(kernel: KernelDouble, place: Path) -> None:
    before = asyncio.all_tasks()
    async with served(kernel, place) as (_, asking):
        await asking.x509_svids().read()
        await kernel.acknowledged(kernel.revision)
    assert list((place / "run").iterdir()) == []
    names = {task.get_name() for task in asyncio.all_tasks() - before}
    assert not any("agent" in name or "certificate" in name or "directory" in name for name in names)


async def test_a_second_agent_does_not_start(kernel: KernelDouble, place: Path) -> None:
    socket = place / "run" / "agent.sock"
    async with served(kernel, place) as (_, asking):
        with pytest.raises(ConfigError, match="home: is in use by another agent"):
            async with Agent(config(kernel, socket), place / "home"):
                pass
        with pytest.raises(ConfigError, match=r"socket: .* in use by another agent"):
            async with Agent(config(kernel, socket), place / "other", joining=joining(kernel)):
                pass
        assert await asking.x509_svids().read()


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ({"identity": "spiffe://other.test/a", "directory": "/d"}, r"files\[0\]\.identity: .*trust domain"),
        ({"identity": "a", "directory": "HOME"}, r"files\[0\]\.directory: is the agent's own"),
    ],
)
async def test_entries_that_cannot_be_are_refused_at_the_start(
    kernel: KernelDouble, place: Path, entry: dict[str, str], said: str
) -> None:
    entry = {key: str(place / "home") if value == "HOME" else value for key, value in entry.items()}
    with pytest.raises(ConfigError, match=said):
        async with Agent(config(kernel, files=[entry]), place / "home", joining=joining(kernel)):
            pass


async def test_with_several_members_it_goes_to_the_one_that_is_there(kernel: KernelDouble, place: Path) -> None:
    import msgspec

    configured = msgspec.structs.replace(config(kernel), kernel=("127.0.0.1:1", kernel.door, "127.0.0.1:2"))
    for _ in range(3):
        async with Agent(configured, place / "home", joining=joining(kernel)):
            await kernel.watched()
            await kernel.acknowledged(kernel.revision)
