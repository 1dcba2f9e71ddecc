from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sira_grpc import fencing
from sira_grpc.errors import FencingTokenStale
from sira_grpc.rpc.interceptors import Fencing
from sira_grpc.store import Check

WRITE, READ = "sira.registry.v1.RegistryService/CreateService", "sira.registry.v1.ResolverService/GetService"


class Told:
    """Guards that are stale for the token `stale`, and remember what they were made of."""

    def __init__(self) -> None:
        self.made: list[list[str]] = []

    def guard(self, values: Sequence[str]) -> fencing.Guard:
        self.made.append(list(values))
        return ToldGuard("stale" in values)


class ToldGuard:
    def __init__(self, stale: bool) -> None:
        self._stale = stale

    def refuse_stale(self) -> None:
        if self._stale:
            raise FencingTokenStale("stale")

    async def checks(self) -> Sequence[Check]:
        return ()

    async def caught_up(self, revision: int) -> None:
        return None

    async def verify(self) -> None:
        return None


async def entered(interceptor: Fencing, method: str, *metadata: tuple[str, str | bytes]) -> fencing.Guard | None:
    """The guard that a call has, in a task of its own."""

    async def call() -> fencing.Guard | None:
        context = SimpleNamespace(invocation_metadata=lambda: metadata)
        made: Any = SimpleNamespace(method=SimpleNamespace(name=method), context=context)
        interceptor.enter(cast(Any, made))
        return fencing.current()

    return await asyncio.create_task(call())


async def test_a_call_that_writes_gets_a_guard_of_all_its_tokens() -> None:
    fences = Told()
    metadata = (("sira-fencing", "a"), ("x", "y"), ("sira-fencing", "b"))
    assert isinstance(await entered(Fencing(fences), WRITE, *metadata), ToldGuard)
    assert fences.made == [["a", "b"]]
    assert fencing.current() is None


async def test_what_is_stale_is_refused_at_once() -> None:
    with pytest.raises(FencingTokenStale):
        await entered(Fencing(Told()), WRITE, ("sira-fencing", "stale"))


async def test_calls_without_tokens_and_those_that_read_have_none() -> None:
    fences = Told()
    interceptor = Fencing(fences)
    for _ in range(2):
        assert await entered(interceptor, WRITE) is None
        assert await entered(interceptor, READ, ("sira-fencing", "stale")) is None
    assert await entered(Fencing(), WRITE, ("sira-fencing", "stale")) is None
    assert not fences.made


async def test_a_certificate_is_written_though_everybody_may_ask_for_one() -> None:
    method = "sira.identity.v1.IdentityService/IssueCertificate"
    assert await entered(Fencing(Told()), method, ("sira-fencing", "a")) is not None
