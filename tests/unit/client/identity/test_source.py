from __future__ import annotations

import asyncio

import pytest
from sira_client import Identity, UnavailableError

from tests.unit.client.identity.given import Given
from tests.unit.client.identity.trust import CALLER, Root


async def test_a_source_is_shared_and_stops_with_its_last_user(root: Root) -> None:
    source = Given(root.identity())
    async with source:
        async with source, source:
            assert source.current.spiffe_id == CALLER
        assert (source.followed, source.following) == (1, 1)
    assert source.following == 0
    async with source:
        assert source.followed == 2


async def test_each_follower_learns_of_the_latest(root: Root) -> None:
    first, second, third = (root.identity() for _ in range(3))
    source = Given(first)
    async with source:
        followers = [asyncio.create_task(source.changed(first)) for _ in range(3)]
        source.give(second)
        assert [await follower for follower in followers] == [second] * 3
        assert await source.changed(first) is second
        late = asyncio.create_task(source.changed(second))
        source.give(second)
        source.give(third)
        assert await late is third


async def test_before_it_is_entered_there_is_no_identity(root: Root) -> None:
    with pytest.raises(RuntimeError, match="what the test gives is followed only in `async with`"):
        Given(root.identity()).server_credentials()


async def test_without_a_first_identity_all_who_enter_are_told(root: Root) -> None:
    source = Given()
    source.fail(ValueError("svid: is no certificate"))
    results = await asyncio.gather(source.__aenter__(), source.__aenter__(), return_exceptions=True)
    assert [str(result) for result in results] == ["svid: is no certificate"] * 2
    assert source.following == 0
    source.give(root.identity())
    async with source:
        assert source.followed == 2


async def test_the_first_identity_is_waited_for(root: Root, caplog: pytest.LogCaptureFixture) -> None:
    source = Given(timeout=20)
    source.fail(UnavailableError("not yet"))
    entering = asyncio.create_task(source.__aenter__())
    source.give(root.identity())
    await entering
    assert caplog.text.count("what the test gives gives nothing new, and is tried again: UNAVAILABLE: not yet") == 1
    await source.__aexit__(None, None, None)


async def test_giving_up_entering_stops_the_source() -> None:
    source = Given(timeout=20)
    entering = asyncio.create_task(source.__aenter__())
    await source.began.acquire()
    entering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await entering
    assert source.following == 0


async def test_an_identity_stays_while_there_is_trouble(root: Root, caplog: pytest.LogCaptureFixture) -> None:
    first, second = root.identity(), root.identity()
    source = Given(first)
    async with source:
        await source.began.acquire()
        for _ in range(2):
            source.fail(OSError("no such file"))
            await source.began.acquire()
        assert source.current is first
        source.give(second)
        assert await source.changed(first) is second
    assert "no such file" in caplog.text


async def test_a_defect_of_a_source_is_not_hidden(root: Root) -> None:
    source = Given()
    source.fail(ZeroDivisionError())
    with pytest.raises(ZeroDivisionError):
        await source.__aenter__()


def test_a_timeout_that_makes_no_sense_is_refused() -> None:
    with pytest.raises(ValueError, match="timeout: must not be below 0"):
        Given(timeout=-1)


def test_an_identity_does_not_show_its_key(root: Root) -> None:
    identity = root.identity()
    assert repr(identity) == f"Identity(spiffe_id='{CALLER}')"
    assert (identity.trust_domain, Identity(b"", b"", b"").trust_domain) == ("example.org", "")
    assert len({identity, identity}) == 1


def test_roots_of_others_are_trusted_only_on_request(root: Root, next_root: Root) -> None:
    identity = root.identity(federated={"other.org": next_root.pem})
    assert identity.roots() == root.pem
    assert identity.roots(federated=True).split(b"\n\n") == [root.pem.rstrip(), next_root.pem]
