"""Streams end when what their callers showed counts no more."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sira_grpc.errors import CredentialExpired, CredentialInvalid, CredentialRevoked, SiraError
from sira_grpc.identity.callers import Caller
from sira_grpc.rpc.call import Call
from sira_grpc.rpc.interceptors import expire
from sira_grpc.rpc.interceptors.authenticate import AuthenticateSvids
from sira_grpc.rpc.interceptors.expire import Expire
from sira_grpc.svid.spiffe_id import SpiffeId
from tests.unit.rpc.calls import made_call


class Told:
    """Says of each caller what it was told; counts how often it was asked."""

    def __init__(self) -> None:
        self.generation = 1
        self.ended: dict[str, SiraError] = {}
        self.looked = 0
        self.verified = 0

    def by_certificate(self, leaf: bytes, chain: bytes) -> Caller:
        self.verified += 1
        return self._say(caller(leaf.decode()))

    def by_connection(self, leaf: bytes, chain: bytes) -> Caller:
        return self.by_certificate(leaf, chain)

    def by_token(self, token: str) -> Caller:
        self.verified += 1
        return self._say(caller(token))

    def check(self, known: Caller) -> None:
        self.looked += 1
        self._say(known)

    def _say(self, known: Caller) -> Caller:
        if known.name in self.ended:
            raise self.ended[known.name]
        return known


def caller(name: str) -> Caller:
    return Caller(SpiffeId("td.test", ("node", name)), name, "1", 0, 1)


def call(name: str, *, streams: bool = True, anonymous: bool = False, token: bool = False) -> Call:
    """A call under way, whose task waits for ever."""
    made = made_call(streams=streams)
    shown = {} if token else {"x509_pem_cert": [name.encode()]}
    bearer = (("authorization", f"Bearer {name}"),) if token else ()
    made.context = cast(Any, SimpleNamespace(auth_context=lambda: shown, invocation_metadata=lambda: bearer))
    made.credential = None if anonymous else caller(name)
    return made


@asynccontextmanager
async def under_way(calls: list[Call]) -> AsyncIterator[None]:
    for one in calls:
        one.task = asyncio.create_task(asyncio.Event().wait())
    await asyncio.sleep(0)
    yield
    for one in calls:
        if one.task is not None:
            one.task.cancel()
    await asyncio.gather(*(one.task for one in calls if one.task is not None), return_exceptions=True)


@pytest.fixture
def verifier() -> Told:
    return Told()


@pytest.fixture
def interceptor(verifier: Told) -> Expire:
    return Expire(AuthenticateSvids(verifier), verifier)


async def test_a_stream_ends_with_what_ended_its_caller(interceptor: Expire, verifier: Told) -> None:
    good, revoked, expired = calls = [call("good"), call("revoked"), call("expired", token=True)]
    async with under_way(calls):
        for one in calls:
            interceptor.enter(one)
        await interceptor.look()
        assert [one.ending for one in calls] == [None] * 3
        verifier.ended = {"revoked": CredentialRevoked("r"), "expired": CredentialExpired("e")}
        await interceptor.look()
        assert good.ending is None
        assert isinstance(revoked.ending, CredentialRevoked)
        assert isinstance(expired.ending, CredentialExpired)
        assert revoked.interrupted


async def test_what_was_shown_is_verified_anew_only_when_roots_have_changed(
    interceptor: Expire, verifier: Told
) -> None:
    calls = [call("a"), call("b", token=True)]
    async with under_way(calls):
        for one in calls:
            interceptor.enter(one)
        for _ in range(3):
            await interceptor.look()
        assert (verifier.looked, verifier.verified) == (6, 0)
        verifier.generation = 2
        verifier.ended = {"b": CredentialInvalid("its root is gone")}
        await interceptor.look()
        assert (verifier.looked, verifier.verified) == (6, 2)
        assert isinstance(calls[1].ending, CredentialInvalid)
        await interceptor.look()
        assert (verifier.looked, verifier.verified) == (7, 2)


async def test_unary_calls_and_callers_without_identity_are_left_alone(interceptor: Expire, verifier: Told) -> None:
    calls = [call("a", streams=False), call("b", anonymous=True)]
    verifier.ended = {name: CredentialRevoked("r") for name in "ab"}
    async with under_way(calls):
        for one in calls:
            interceptor.enter(one)
        await interceptor.look()
        assert [one.ending for one in calls] == [None, None]
    assert (verifier.looked, verifier.verified) == (0, 0)


async def test_a_stream_that_is_over_is_forgotten(interceptor: Expire, verifier: Told) -> None:
    one = call("a")
    interceptor.enter(one)
    interceptor.exit(one)
    await interceptor.look()
    assert verifier.looked == 0


async def test_a_stream_that_takes_its_time_to_end_is_told_once(
    interceptor: Expire, verifier: Told, caplog: pytest.LogCaptureFixture
) -> None:
    one = call("a")  # nobody keeps its task: it cannot be interrupted, as those of health
    verifier.ended = {"a": CredentialRevoked("r")}
    interceptor.enter(one)
    with caplog.at_level(logging.INFO):
        for _ in range(5):
            await interceptor.look()
    assert len(caplog.records) == 1
    assert isinstance(one.ending, CredentialRevoked)


async def test_many_streams_leave_turns_to_others(interceptor: Expire, verifier: Told) -> None:
    calls = [call(f"c{number}") for number in range(3 * expire.AT_ONCE)]
    for one in calls:
        interceptor.enter(one)
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await interceptor.look()
    counting.cancel()
    assert turns >= 3
    assert verifier.looked == len(calls)


async def test_it_looks_by_itself(interceptor: Expire, verifier: Told, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(expire, "LOOK_SECONDS", 0.001)
    one = call("a")
    async with under_way([one]):
        interceptor.enter(one)
        running = asyncio.create_task(interceptor.run())
        verifier.ended = {"a": CredentialExpired("e")}
        assert one.task is not None
        async with asyncio.timeout(20):
            await asyncio.wait([one.task])
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    assert isinstance(one.ending, CredentialExpired)
