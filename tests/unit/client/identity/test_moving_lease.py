from __future__ import annotations

import asyncio
from typing import Any

import grpc
import pytest
from sira_client import RegistrationState, UnauthenticatedError

from tests.unit.client.balanced.echo_service import endpoint
from tests.unit.client.echo import Echo
from tests.unit.client.failure import Failure
from tests.unit.client.identity.said import Said
from tests.unit.client.identity.trust import Root
from tests.unit.client.identity.world import World

HELD = RegistrationState.HELD
EXPIRED = Failure(grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_EXPIRED")


async def test_a_stream_that_cannot_move_stays_where_it_is_for_now(here: World, root: Root, said: Said) -> None:
    async with here.client.register("echo", port=1, drain_timeout=0) as registration:
        here.kernel.failures["HoldLease"].extend([Failure(grpc.StatusCode.UNAVAILABLE), EXPIRED])
        here.renew(root)
        await here.kernel.moved(2)
        assert registration.state is HELD
    assert here.kernel.suspects == []
    assert said.lines == []


async def test_a_lease_that_is_lost_while_it_moves_is_attached_again(here: World, root: Root) -> None:
    async with here.client.register("echo", port=1, drain_timeout=0) as registration:
        here.kernel.failures["HoldLease"].extend([Failure(grpc.StatusCode.UNAVAILABLE)] * 3)
        here.renew(root)
        await here.kernel.until(lambda: len(here.kernel.seen["HoldLease"]) == 2)
        await here.kernel.drop_streams()
        await registration.wait_for(RegistrationState.RECONNECTING)
        await registration.wait_for(HELD)


async def test_a_release_while_a_lease_moves_gives_it_back(here: World, root: Root) -> None:
    async with here.client.register("echo", port=1, drain_timeout=0):
        here.kernel.failures["HoldLease"].extend([Failure(grpc.StatusCode.UNAVAILABLE)] * 100)
        here.renew(root)
        await here.kernel.until(lambda: len(here.kernel.seen["HoldLease"]) == 2)
    assert here.kernel.leases == {}
    assert here.kernel.endpoints == {}


async def test_a_release_waits_for_a_lease_to_have_moved(
    here: World, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    kernel, client = here.kernel, here.client
    moving, go_on = asyncio.Event(), asyncio.Event()
    enter = kernel._enter

    async def slow(method: str, request: Any, context: Any) -> None:
        await enter(method, request, context)
        if method == "HoldLease":
            moving.set()
            await go_on.wait()

    async with client.register("echo", port=1, drain_timeout=0) as registration:
        monkeypatch.setattr(kernel, "_enter", slow)
        here.renew(root)
        await moving.wait()
        closing = asyncio.create_task(registration.close())
        go_on.set()
        await closing
    assert kernel.suspects == []
    assert kernel.leases == {}
    assert kernel.seen["RevokeLease"] == []


async def test_an_expired_certificate_is_a_passing_matter(here: World, said: Said) -> None:
    kernel, client = here.kernel, here.client
    kernel.failures["HoldLease"].append(EXPIRED)
    async with client.register("echo", port=1, drain_timeout=0) as registration:
        watch = client.watch("echo")
        await anext(watch)
        kernel.failures["watching"].append(EXPIRED)
        kernel.failures["stream"].append(EXPIRED)
        waiting = asyncio.ensure_future(anext(watch))
        await kernel.drop_streams()
        await registration.wait_for(RegistrationState.RECONNECTING)
        await registration.wait_for(HELD)
        await kernel.put(endpoint(Echo("one")))
        await waiting
        kernel.failures["watching"].append(Failure(grpc.StatusCode.UNAUTHENTICATED, "CREDENTIAL_REVOKED"))
        await kernel.drop_streams()
        with pytest.raises(UnauthenticatedError, match="CREDENTIAL_REVOKED"):
            async for _ in watch:  # it may have seen the endpoint before or after it was opened again
                pass
