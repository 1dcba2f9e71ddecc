"""Join tokens: used as often as they may be, and not once more, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections import defaultdict

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira.identity.v1.join_token_pb2 import JoinToken

from sira_grpc.errors import (
    IdentityNotAllowed,
    InvalidField,
    InvalidPageToken,
    JoinTokenInvalid,
    JoinTokenNotFound,
    SiraError,
    StoreUnavailable,
)
from sira_grpc.identity import names
from sira_grpc.identity.join_tokens import JoinTokens
from sira_grpc.identity.view import IdentityView, Token
from sira_grpc.store import Delete
from sira_grpc.svid.join_secret import JoinSecret
from tests.unit.identity.world import API, DOMAIN, NODE, SERVICES, WEB, Held, World

USED_UP = r"join_token: was used (\d+) of \1 times"


def uses(world: World, secret: str) -> int:
    entry = world.identity.view.tokens[JoinSecret.parse(secret).token]
    return world.identity.tokens.describe(entry).uses


async def attempt(world: World, secret: str, identity: str = WEB) -> Held | SiraError:
    try:
        return await world.issue(identity, join_token=secret)
    except SiraError as error:
        return error


async def test_a_token_is_stored_as_it_was_asked_for(world: World) -> None:
    asked = JoinToken(
        identities=[SERVICES],
        dns_names=["*.example.org"],
        delegated=[WEB],
        max_uses=7,
        description="d",
        name="joinTokens/mine",
        uses=5,
        creator="mallory",
    )
    asked.expire_time.FromSeconds(1)
    token, secret = await world.identity.tokens.create(asked, ttl=60, actor="ann")
    assert token.name == f"joinTokens/{secret.token}"
    assert (token.max_uses, token.uses, token.creator, token.description) == (7, 0, "ann", "d")
    assert [*token.identities, *token.dns_names, *token.delegated] == [SERVICES, "*.example.org", WEB]
    assert token.create_time.ToNanoseconds() == world.clock.time_ns()
    assert token.expire_time.ToNanoseconds() == world.clock.time_ns() + 60 * 10**9
    assert secret.fingerprint == world.identity.root_fingerprint
    assert (await world.identity.tokens.page(size=0, token=""))[0] == [token]


async def test_its_secret_is_nowhere(world: World) -> None:
    secret = JoinSecret.parse(await world.token())
    snapshot = await world.store.snapshot(names.PREFIX)
    stored = b"".join(entry.value for entry in snapshot.entries)
    assert secret.secret.encode() not in stored
    assert bytes.fromhex(secret.secret) not in stored
    assert secret.secret not in repr(secret)


@pytest.mark.parametrize(
    ("fields", "field", "rule"),
    [
        ({"identities": [WEB, "spiffe://other.test/x"]}, "identities[1]", f"must be of the trust domain {DOMAIN}"),
        ({"identities": [f"spiffe://{DOMAIN}.evil/x"]}, "identities[0]", "must be of the trust domain"),
        ({"identities": [f"spiffe://{DOMAIN}"]}, "identities[0]", "must have a path"),
        ({"identities": [f"spiffe://{DOMAIN}/../x"]}, "identities[0]", "has a segment that is empty, a dot"),
        ({"identities": ["x"]}, "identities[0]", "does not begin with spiffe://"),
        ({"identities": [WEB], "delegated": ["spiffe://other.test/*"]}, "delegated[0]", "must be of the trust domain"),
        ({"identities": [f"spiffe://{DOMAIN}/" + "x" * 2048]}, "identities[0]", "has at most 2048 bytes"),
    ],
)
async def test_patterns_that_are_none_are_refused(
    world: World, fields: dict[str, list[str]], field: str, rule: str
) -> None:
    with pytest.raises(InvalidField) as caught:
        await world.identity.tokens.create(JoinToken(**fields), ttl=60, actor="")  # type: ignore[arg-type]  # its fields
    (violation,) = caught.value.violations
    assert violation.field == f"join_token.{field}"
    assert rule in violation.rule
    assert not world.identity.view.tokens


class TestUses:
    """How often a token is good."""

    async def test_a_token_is_good_once_unless_it_says_otherwise(self, world: World) -> None:
        secret = await world.token()
        await world.issue(join_token=secret)
        with pytest.raises(JoinTokenInvalid, match=USED_UP):
            await world.issue(join_token=secret)
        assert uses(world, secret) == 1

    async def test_sixty_four_at_once_get_what_ten_uses_are_for(self, world: World) -> None:
        secret = await world.token(max_uses=10)
        outcomes = await asyncio.gather(*(attempt(world, secret) for _ in range(64)))
        held = [one for one in outcomes if isinstance(one, Held)]
        refused = [one for one in outcomes if isinstance(one, SiraError)]
        assert (len(held), len(refused)) == (10, 54)
        assert {type(error) for error in refused} == {JoinTokenInvalid}
        assert uses(world, secret) == 10
        entry = world.identity.view.tokens[JoinSecret.parse(secret).token]
        assert sorted(entry.uses) == list(range(10))
        assert set(entry.uses.values()) == {one.serial for one in held}

    async def test_two_at_once_get_one(self, world: World) -> None:
        for _ in range(10):
            secret = await world.token()
            outcomes = await asyncio.gather(attempt(world, secret), attempt(world, secret))
            assert sum(isinstance(one, Held) for one in outcomes) == 1

    async def test_a_use_outlives_a_restart(self, world: World) -> None:
        secret = await world.token(max_uses=2)
        await world.issue(join_token=secret)
        await world.restart()
        assert uses(world, secret) == 1
        await world.issue(join_token=secret)
        await world.restart()
        with pytest.raises(JoinTokenInvalid, match=USED_UP):
            await world.issue(join_token=secret)

    async def test_what_was_refused_or_could_not_be_written_is_no_use(self, world: World) -> None:
        secret = await world.token(max_uses=3)
        with pytest.raises(IdentityNotAllowed):
            await world.issue(NODE, join_token=secret)
        for expected in (0, 1, 2):
            world.store.failures.append(StoreUnavailable("full"))
            with pytest.raises(StoreUnavailable):
                await world.issue(join_token=secret)
            assert uses(world, secret) == expected
            await world.issue(join_token=secret)
        with pytest.raises(JoinTokenInvalid):
            await world.issue(join_token=secret)

    async def test_slots_that_failures_left_are_filled(self, world: World) -> None:
        secret = await world.token(max_uses=6)
        world.store.shut()
        attempts = [asyncio.create_task(attempt(world, secret)) for _ in range(6)]
        await world.turns()
        for _ in range(3):
            world.store.failures.append(StoreUnavailable("full"))
        world.store.open()
        outcomes = await asyncio.gather(*attempts)
        assert sum(isinstance(one, Held) for one in outcomes) == 3
        assert sorted(world.identity.view.tokens[JoinSecret.parse(secret).token].uses) == [3, 4, 5]
        outcomes = await asyncio.gather(*(attempt(world, secret) for _ in range(6)))
        assert sum(isinstance(one, Held) for one in outcomes) == 3
        assert uses(world, secret) == 6

    async def test_a_caller_that_goes_away_does_not_give_its_use_to_another(self, world: World) -> None:
        secret = await world.token()
        world.store.shut()
        first = asyncio.create_task(attempt(world, secret))
        await world.store.arrived()
        first.cancel()
        await asyncio.gather(first, return_exceptions=True)
        with pytest.raises(JoinTokenInvalid, match=USED_UP):
            await world.issue(join_token=secret)
        world.store.open()
        await world.until(lambda: uses(world, secret) == 1)
        with pytest.raises(JoinTokenInvalid, match=USED_UP):
            await world.issue(join_token=secret)
        assert world.live() == 3  # and what the kernel holds itself


class TestDeleted:
    """A token that was deleted is good for nothing."""

    async def test_it_is_gone_with_its_uses(self, world: World) -> None:
        secret = await world.token(max_uses=9)
        held = await world.issue(join_token=secret)
        await world.identity.tokens.delete(f"joinTokens/{JoinSecret.parse(secret).token}")
        assert not world.identity.view.tokens
        assert await stored_tokens(world) == []
        with pytest.raises(JoinTokenInvalid, match="there is no such token"):
            await world.issue(join_token=secret)
        world.caller(held)  # what was issued for it stays valid

    async def test_twice(self, world: World) -> None:
        for name in ("joinTokens/0123456789", f"joinTokens/{JoinSecret.parse(await world.token()).token}"):
            if not name.endswith("0123456789"):
                await world.identity.tokens.delete(name)
            with pytest.raises(JoinTokenNotFound) as caught:
                await world.identity.tokens.delete(name)
            assert caught.value.metadata == {"resource": name}

    async def test_while_it_is_used(self, world: World) -> None:
        secret = await world.token(max_uses=9)
        world.store.shut()
        using = [asyncio.create_task(attempt(world, secret)) for _ in range(3)]
        await world.turns()
        deleting = asyncio.create_task(world.identity.tokens.delete(f"joinTokens/{JoinSecret.parse(secret).token}"))
        await world.turns()
        late = asyncio.create_task(attempt(world, secret))
        await world.turns()
        world.store.open()
        assert all(isinstance(one, Held) for one in await asyncio.gather(*using))  # they were first
        assert isinstance(await late, JoinTokenInvalid)
        await deleting
        assert await stored_tokens(world) == []
        assert not world.identity.view.tokens
        assert not world.identity.tokens._reserved

    async def test_what_a_crash_left_of_it_is_swept_and_not_listed(self, world: World) -> None:
        secret = await world.token(max_uses=3)
        token = JoinSecret.parse(secret).token
        await world.issue(join_token=secret)
        kept = [await world.token() for _ in range(3)]
        await world.store.commit([Delete(names.token_key(token))])  # and then it was killed
        await world.restart()
        assert world.identity.view.tokens[token].record is None
        listed, more = await world.identity.tokens.page(size=3, token="")
        assert ({one.name for one in listed}, more) == ({f"joinTokens/{JoinSecret.parse(s).token}" for s in kept}, "")
        with pytest.raises(JoinTokenInvalid, match="there is no such token"):
            await world.issue(join_token=secret)
        await world.identity.tokens.sweep(before_ns=0)
        assert token not in world.identity.view.tokens


async def stored_tokens(world: World) -> list[str]:
    """Keys of tokens and uses in the store."""
    snapshot = await world.store.snapshot(names.PREFIX)
    return [entry.key for entry in snapshot.entries if entry.key.startswith((names.TOKENS, names.USES))]


class TestFind:
    """Who does not have the secret is told nothing."""

    async def test_an_expired_token(self, world: World) -> None:
        secret = await world.token(ttl=60)
        world.clock.advance(59.9)
        world.identity.tokens.find(secret)
        world.clock.advance(0.1)
        with pytest.raises(JoinTokenInvalid, match="has expired; have another one created"):
            world.identity.tokens.find(secret)

    @pytest.mark.parametrize("spoil", ["unknown", "secret", "expired", "used"])
    async def test_without_the_secret_it_is_all_the_same(self, world: World, spoil: str) -> None:
        secret = JoinSecret.parse(await world.token(ttl=60))
        if spoil == "expired":
            world.clock.advance(100)
        if spoil == "used":
            await world.issue(join_token=str(secret))
        token = "0" * 10 if spoil == "unknown" else secret.token
        wrong = JoinSecret(token, "0" * 40, secret.fingerprint)
        with pytest.raises(JoinTokenInvalid, match="there is no such token"):
            world.identity.tokens.find(str(wrong))

    @pytest.mark.parametrize("text", ["", "x", "a.b.c", "0123456789", "\u0660" * 10])
    async def test_what_is_no_secret(self, world: World, text: str) -> None:
        with pytest.raises(JoinTokenInvalid, match="join_token: is no join token"):
            world.identity.tokens.find(text)

    async def test_the_fingerprint_is_the_bearers_business(self, world: World) -> None:
        secret = JoinSecret.parse(await world.token())
        world.identity.tokens.find(str(JoinSecret(secret.token, secret.secret, "0" * 64)))

    async def test_it_is_looked_at_before_the_request_is_read(self, world: World) -> None:
        with pytest.raises(JoinTokenInvalid):
            await world.identity.issuer.certificate(
                b"rubbish", join_token="x", ttl=None, supersedes="", caller=None, actor=""
            )


async def test_what_can_still_be_used_is_counted(world: World) -> None:
    once = await world.token(ttl=60)
    twice = await world.token(max_uses=2, ttl=120)
    assert world.identity.tokens.usable == 2
    await world.issue(join_token=once)
    await world.issue(join_token=twice)
    assert world.identity.tokens.usable == 1
    world.clock.advance(120)
    assert world.identity.tokens.usable == 0
    assert world.identity.status().join_tokens == 0


async def test_expired_tokens_are_swept_some_time_later(world: World) -> None:
    early, late = await world.token(ttl=60), await world.token(API, ttl=600, max_uses=2)
    for secret in (early, late):
        await world.issue(API, join_token=secret)
    world.clock.advance(100)
    await world.identity.tokens.sweep(before_ns=world.clock.time_ns() - 60 * 10**9)
    assert len(world.identity.view.tokens) == 2
    await world.identity.tokens.sweep(before_ns=world.clock.time_ns())
    assert list(world.identity.view.tokens) == [JoinSecret.parse(late).token]
    assert len(await stored_tokens(world)) == 2


async def test_they_are_listed_page_by_page(world: World) -> None:
    made = {f"joinTokens/{JoinSecret.parse(await world.token()).token}" for _ in range(7)}
    found, token = [], ""
    for size in (3, 3, 1):
        page, token = await world.identity.tokens.page(size=3, token=token)
        assert len(page) == size
        found += [one.name for one in page]
    assert (found, token) == (sorted(made), "")
    with pytest.raises(InvalidPageToken):
        await world.identity.tokens.page(size=3, token="abc")


@given(st.sets(st.integers(0, 20)), st.sets(st.integers(0, 20)), st.integers(1, 20))
def test_a_free_slot_is_free_and_as_low_as_the_uses_are_many(used: set[int], reserved: set[int], most: int) -> None:
    view = IdentityView()
    view.tokens["t"] = Token(uses=dict.fromkeys(used, ""))
    tokens = JoinTokens.__new__(JoinTokens)
    tokens._view, tokens._reserved = view, defaultdict(set, {"t": reserved})
    slot = tokens._free_slot("t", JoinToken(max_uses=most))
    taken = used | reserved
    if len(taken) >= most:
        assert slot is None
    else:
        assert slot is not None
        assert slot not in taken
        assert 0 <= slot <= len(taken)
