from __future__ import annotations

import asyncio

import grpc
import pytest
from sira.registry.v1.registry_service_pb2 import DrainRequest, DrainResponse
from sira_client import RegistrationState, ServiceView, UnavailableError, connect
from sira_client.first_of import drop

from tests.unit.client.balanced.echo_service import endpoint
from tests.unit.client.echo import Echo
from tests.unit.client.identity.given import Given, quick
from tests.unit.client.identity.trust import CALLER, KERNEL, Root, local_names
from tests.unit.client.identity.world import World, replaced
from tests.unit.client.in_memory_kernel import InMemoryKernel

HELD = RegistrationState.HELD


async def test_calls_lease_and_watch_move_to_the_new_connection(here: World, root: Root) -> None:
    kernel, client = here.kernel, here.client
    await kernel.put(endpoint(Echo("one")))
    views: asyncio.Queue[ServiceView] = asyncio.Queue()
    states: list[RegistrationState] = []

    async def watch() -> None:
        async for view in client.watch("echo"):
            views.put_nowait(view)

    async def look() -> None:
        while True:
            await registration.changed()
            states.append(registration.state)

    async with client.register("echo", port=1, drain_timeout=0) as registration:
        looking = [asyncio.create_task(watch()), asyncio.create_task(look())]
        await views.get()
        for turn in range(3):
            before = client._link.member
            here.renew(root)
            await replaced(before)
            await kernel.moved(turn + 2)
            await kernel.until(lambda: len(set(kernel.peers["Watch"])) == len(set(kernel.peers["HoldLease"])))
            await client.resolve("echo")
            new = endpoint(Echo(f"new-{turn}"))
            await kernel.put(new)
            while new.name not in (await views.get()).endpoints:
                pass
        assert registration.state is HELD
        await drop(*looking)
    assert states == []
    assert kernel.suspects == []
    assert {request.lease_key for request in kernel.seen["HoldLease"][1:]} == {"key-1"}
    assert all(request.start_revision for request in kernel.seen["Watch"][1:])
    for method in ("HoldLease", "Watch"):
        assert len(set(kernel.peers[method])) == len(kernel.peers[method]) == 4


async def test_no_call_fails_while_the_identity_is_renewed(here: World, root: Root) -> None:
    client = here.client
    stop = asyncio.Event()

    async def load() -> int:
        calls = 0
        while not stop.is_set():
            await client.resolve("echo")
            calls += 1
        return calls

    await here.kernel.put(endpoint(Echo("one")))
    callers = [asyncio.create_task(load()) for _ in range(4)]
    for _ in range(10):
        await client.resolve("echo")
        before = client._link.member
        assert before.connected
        here.renew(root)
        await replaced(before)
    stop.set()
    assert sum(await asyncio.gather(*callers)) > 0
    assert len(set(here.kernel.peers["Resolve"])) >= 10


async def test_a_call_under_way_finishes_on_the_connection_that_is_replaced(
    here: World, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    entered, release = asyncio.Event(), asyncio.Event()

    async def drain(_: DrainRequest, context: grpc.aio.ServicerContext[DrainRequest, DrainResponse]) -> DrainResponse:
        entered.set()
        await release.wait()
        return DrainResponse(revision=7)

    monkeypatch.setattr(here.kernel, "Drain", drain)
    await here.kernel.stop()
    await here.kernel.start()
    slow = asyncio.ensure_future(here.client.registry.Drain(DrainRequest(), timeout=20))
    await entered.wait()
    before = here.client._link.member
    here.renew(root)
    await replaced(before)
    assert before.channel.get_state() is grpc.ChannelConnectivity.READY
    release.set()
    assert (await slow).revision == 7
    while here.client._link._retiring:
        await asyncio.wait(here.client._link._retiring)
    assert before.channel.get_state() is grpc.ChannelConnectivity.SHUTDOWN


async def test_what_stays_on_a_replaced_connection_ends_with_the_grace(
    here: World, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sira_client.link.RETIRE_SECONDS", 0.01)
    before = here.client._link.member
    await before.ready()
    stray = before.carrying(before.registry.HoldLease())
    here.renew(root)
    await replaced(before)
    assert await stray.code() is grpc.StatusCode.CANCELLED


async def test_the_old_connection_serves_until_the_new_one_is_up(here: World, root: Root, next_root: Root) -> None:
    """The caller is renewed from a root that the kernel does not know yet, and then does."""
    await here.kernel.put(endpoint(Echo("one")))
    async with here.client.register("echo", port=1, drain_timeout=0) as registration:
        before = here.client._link.member
        here.caller.give(next_root.identity(CALLER, root))
        await here.caller.taken()
        await here.client.resolve("echo")
        assert here.client._link.member is before
        here.kernel_identity.give(root.identity(KERNEL, next_root))
        await replaced(before)
        await here.client.resolve("echo")
        await here.kernel.moved(2)
        assert registration.state is HELD
    assert here.kernel.suspects == []


async def test_an_old_root_disappears_while_all_is_in_use(here: World, root: Root, next_root: Root) -> None:
    kernel, client = here.kernel, here.client
    await kernel.put(endpoint(Echo("one")))
    watch = client.watch("echo")
    await anext(watch)
    async with client.register("echo", port=1, drain_timeout=0) as registration:
        for turn, (issuing, *others) in enumerate(((root, next_root), (next_root, root), (next_root,))):
            before = client._link.member
            here.give_all(issuing, *others)
            await replaced(before)
            await client.resolve("echo")
            await kernel.moved(turn + 2)
        assert kernel.suspects == []
        assert registration.state is HELD
        await kernel.stop()
        await kernel.start()
        await registration.wait_for(RegistrationState.RECONNECTING)
        await registration.wait_for(HELD)
    await watch.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_a_connection_that_is_broken_is_replaced_at_once(here: World, root: Root, next_root: Root) -> None:
    """The kernel comes back with a root that the caller does not know, until it is renewed."""
    async with here.client.register("echo", port=1, drain_timeout=0) as registration:
        await here.kernel.stop()
        here.kernel_identity.give(next_root.identity(KERNEL, root))
        await here.kernel_identity.taken()
        await here.kernel.start()
        await registration.wait_for(RegistrationState.RECONNECTING)
        with pytest.raises(UnavailableError):
            await here.client.resolve("echo")
        here.renew(root, next_root)
        await registration.wait_for(HELD)
        await here.client.resolve("echo")


async def test_a_connection_that_breaks_while_it_is_renewed_is_replaced(
    here: World, root: Root, next_root: Root
) -> None:
    before = here.client._link.member
    await before.ready()
    here.caller.give(next_root.identity(CALLER, root))  # with which the kernel lets nobody in, yet
    await here.caller.taken()
    await here.kernel.stop()
    await replaced(before)
    here.kernel_identity.give(root.identity(KERNEL, next_root))
    await here.kernel_identity.taken()
    await here.kernel.put(endpoint(Echo("one")))
    await here.kernel.start()
    await here.client._link.member.ready()
    await here.client.resolve("echo")


async def test_a_renewal_that_is_overtaken_is_dropped(here: World, root: Root, next_root: Root) -> None:
    before = here.client._link.member
    await before.ready()
    here.caller.give(next_root.identity())  # with which the kernel lets nobody in
    await here.caller.taken()
    here.renew(root)
    await replaced(before)
    await here.kernel.put(endpoint(Echo("one")))
    await here.client.resolve("echo")


async def test_members_that_are_not_connected_stay_so(root: Root) -> None:
    async with Given(root.identity(KERNEL)) as kernel_identity, Given(root.identity()) as caller:
        kernels = [InMemoryKernel(kernel_identity.server_credentials) for _ in range(2)]
        for kernel in kernels:
            await kernel.start()
        async with connect([kernel.address for kernel in kernels], identity=caller, settings=quick()) as client:
            link = client._link
            before = list(link.members)
            await link.member.ready()
            caller.give(root.identity())
            for member in before:
                await replaced(member)
            states = [member.channel.get_state() for member in link.members]
            assert sorted(state.name for state in states) == ["IDLE", "READY"]
            assert link.member.connected
        for kernel in kernels:
            await kernel.stop()


async def test_only_a_kernel_of_the_trust_domain_is_talked_to(root: Root) -> None:
    async with (
        Given(root.identity(names=local_names(KERNEL))) as impostor,
        Given(root.identity()) as caller,
    ):
        kernel = InMemoryKernel(impostor.server_credentials)
        await kernel.start()
        async with connect(kernel.address, identity=caller, settings=quick()) as client:
            with pytest.raises(UnavailableError):
                await client.resolve("echo")
        async with connect(kernel.address, identity=caller, server_name="127.0.0.1", settings=quick()) as client:
            await client.resolve("echo")
        await kernel.stop()


async def test_without_a_spiffe_id_the_host_is_verified(root: Root) -> None:
    nameless = root.identity("", names=())
    async with Given(root.identity(names=local_names(KERNEL))) as kernel_identity, Given(nameless) as caller:
        kernel = InMemoryKernel(kernel_identity.server_credentials)
        await kernel.start()
        async with connect(kernel.address, identity=caller, settings=quick()) as client:
            await client.resolve("echo")
            with pytest.raises(ValueError, match="mtls: what the test gives has no SPIFFE ID"):
                client.channel("echo")
        await kernel.stop()
