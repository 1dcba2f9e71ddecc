"""The parts together: how they start, what they say, and how they stop."""

from __future__ import annotations

import asyncio
import logging

import msgspec
import pytest
from cryptography import x509
from sira.identity.v1.authority_pb2 import AuthorityState
from sira.identity.v1.join_token_pb2 import JoinToken

from sira_grpc.errors import KernelStopping, StoreUnavailable
from sira_grpc.svid import x509_svid
from tests.unit.identity.world import (
    API,
    DOMAIN,
    HOST,
    PUBLISHING,
    RETIRING,
    WEB,
    World,
    Worlds,
)

ISSUING_STATE = AuthorityState.AUTHORITY_STATE_ISSUING
TRUSTED_STATE = AuthorityState.AUTHORITY_STATE_TRUSTED
RETIRED_STATE = AuthorityState.AUTHORITY_STATE_RETIRED


async def test_what_it_says_of_itself(world: World) -> None:
    await world.join()
    await world.join(API)
    await world.token(max_uses=3)
    watching = world.watch()
    status = world.identity.status()
    (authority,) = status.authorities
    known = world.identity._opened.keyring.issuing()
    assert (status.trust_domain, status.watchers, status.live_certificates, status.join_tokens) == (DOMAIN, 1, 4, 1)
    assert not status.HasField("rotation")
    assert not status.HasField("last_rotation_time")
    assert (authority.id, authority.state, authority.external) == (known.id, ISSUING_STATE, False)
    assert authority.root_sha256 == world.identity.root_fingerprint
    assert authority.root_expire_time.ToSeconds() == known.root.not_valid_after_utc.timestamp()
    assert authority.intermediate_expire_time.ToSeconds() == known.issuer.not_valid_after_utc.timestamp()
    assert (authority.jwt_key_id, authority.live_certificates) == (known.record.jwt_key_id, 4)
    assert authority.create_time.ToNanoseconds() == world.clock.time_ns()
    await watching.leave()


async def test_the_states_of_the_authorities(world: World) -> None:
    world.clock.advance(1)
    await world.identity.rotator.start()
    for stage, states in (
        (PUBLISHING, [ISSUING_STATE, TRUSTED_STATE]),
        (PUBLISHING + 1, [TRUSTED_STATE, ISSUING_STATE]),
        (RETIRING, [RETIRED_STATE, ISSUING_STATE]),
    ):
        assert world.stage == stage
        assert [authority.state for authority in world.identity.status().authorities] == states
        await world.identity.rotator.advance(stage)  # type: ignore[arg-type]  # a stage
    assert [authority.state for authority in world.identity.status().authorities] == [ISSUING_STATE]


async def test_the_kernels_names_are_in_its_certificate(world: World) -> None:
    await world.stop()
    world.config = msgspec.structs.replace(world.config, names=("sira.example.org", "10.9.8.7", "localhost"))
    await world.start()
    leaf = x509_svid.read_pem(world.identity.member.read().chain)[0]
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert [str(name.value) for name in names] == [
        f"spiffe://{DOMAIN}/member/{HOST}",
        *(f"kernel.{DOMAIN}", "sira.example.org", "10.9.8.7", "localhost", "127.0.0.1"),
    ]


async def test_a_store_that_cannot_be_written_ends_the_start(worlds: Worlds) -> None:
    world = worlds()
    for founded in (False, True):
        world.start_failures = [StoreUnavailable("full")]
        with pytest.raises(StoreUnavailable):
            await world.start()
        await world.start()
        assert world.identity.founded != founded
        assert world.live() == 2
        await world.stop()


async def test_what_is_under_way_when_it_stops_is_finished(world: World) -> None:
    secret = await world.token(max_uses=5)
    world.store.shut()
    joining = [asyncio.create_task(world.issue(WEB, join_token=secret)) for _ in range(5)]
    await world.turns()
    stopping = asyncio.create_task(world.stop())
    held = await asyncio.gather(*joining)
    await stopping
    await world.start()
    for one in held:
        assert world.record(one.serial) == one.record


async def test_who_comes_after_the_end_is_told(world: World) -> None:
    identity = world.identity
    await world.stop()
    with pytest.raises((KernelStopping, StoreUnavailable)):
        await identity.tokens.create(JoinToken(identities=[WEB]), ttl=60, actor="")
    await world.start()


@pytest.mark.parametrize("delay", [0, 1, 2, 3, 5])
async def test_it_stops_at_any_moment(world: World, delay: int) -> None:
    """Right after a change of trust every task has something to do: none of them may miss that it is cancelled."""
    await world.identity.rotator.start()
    await world.identity.rotator.advance(PUBLISHING)
    await world.turns(delay)
    async with asyncio.timeout(10):
        await world.stop()
    await world.start()


async def test_nothing_secret_is_logged(world: World, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        secret = await world.token(max_uses=2)
        held = await world.issue(join_token=secret)
        token = world.jwt(held)
        await world.identity.rotator.start()
        await world.restart()
    for told in (secret, secret.split(".")[1], token):
        assert told not in caplog.text
