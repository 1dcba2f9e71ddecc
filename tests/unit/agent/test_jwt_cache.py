"""Which tokens are handed out again."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from sira.identity.v1.identity_service_pb2 import IssueJwtResponse
from sira.identity.v1.trust_bundle_pb2 import TrustBundle

from sira_grpc.agent import jwt_cache
from sira_grpc.agent.failures import Unready
from sira_grpc.agent.jwt_cache import JwtCache
from sira_grpc.agent.trust import Trust
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.times import timestamp
from tests.unit.agent.fake_time import FakeTime

ONE, TWO = (SpiffeId("example.test", ("node", name)) for name in ("one", "two"))
TRUST = Trust(TrustBundle(trust_domain="example.test"))


class Issuer:
    def __init__(self) -> None:
        self.time = FakeTime()
        self.calls = 0
        self.problem: Unready | None = None

    async def issue(self, identity: SpiffeId, audiences: Sequence[str]) -> IssueJwtResponse:
        if self.problem is not None:
            raise self.problem
        self.calls += 1
        now = self.time.time_ns()
        return IssueJwtResponse(
            token=f"{self.calls}", issue_time=timestamp(now), expire_time=timestamp(now + 300 * 10**9)
        )


async def test_a_token_is_kept_until_half_of_its_life_is_over() -> None:
    issuer = Issuer()
    cache = JwtCache(issuer.issue, issuer.time)
    assert await cache.token(ONE, ["a", "b"], TRUST) == "1"
    issuer.time.now += 149
    assert await cache.token(ONE, ["b", "a"], TRUST) == "1"
    issuer.time.now += 2
    assert await cache.token(ONE, ["a", "b"], TRUST) == "2"


async def test_identities_and_audiences_are_told_apart() -> None:
    issuer = Issuer()
    cache = JwtCache(issuer.issue, issuer.time)
    tokens = [
        await cache.token(one, audiences, TRUST) for one in (ONE, TWO) for audiences in (["a"], ["b"], ["a", "b"])
    ]
    assert len(set(tokens)) == 6


async def test_what_is_trusted_is_another_and_so_are_the_tokens() -> None:
    issuer = Issuer()
    cache = JwtCache(issuer.issue, issuer.time)
    assert await cache.token(ONE, ["a"], TRUST) == "1"
    assert await cache.token(ONE, ["a"], Trust(TRUST.bundle)) == "2"


async def test_the_oldest_go_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jwt_cache, "MAX_TOKENS", 2)
    issuer = Issuer()
    cache = JwtCache(issuer.issue, issuer.time)
    for audience in ("a", "b", "c"):
        await cache.token(ONE, [audience], TRUST)
    assert await cache.token(ONE, ["c"], TRUST) == "3"
    assert await cache.token(ONE, ["a"], TRUST) == "4"


async def test_a_failure_is_not_kept() -> None:
    issuer = Issuer()
    cache = JwtCache(issuer.issue, issuer.time)
    issuer.problem = Unready("the kernel is away")
    with pytest.raises(Unready):
        await cache.token(ONE, ["a"], TRUST)
    issuer.problem = None
    assert await cache.token(ONE, ["a"], TRUST) == "1"
