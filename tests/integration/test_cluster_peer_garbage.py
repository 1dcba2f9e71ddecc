"""Garbage to what members ask each other: who has no signature learns nothing, and who has one is checked as well."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator
from typing import Any

import grpc
import pytest
from sira.cluster.internal.v1 import peer_service_pb2 as pb

from sira_grpc.rpc.forwarding.signature import HEADER, VALID_SECONDS, Signer
from tests.clocks import NANOS
from tests.integration.edge_server import Failure, failure
from tests.integration.forwarding_world import SECRET, Member, World, world
from tests.integration.raw_calls import LARGE_HEADERS, UNREADABLE, oversized_message
from tests.integration.test_forwarding_peers import Registry, registries

SERVICE = "sira.cluster.internal.v1.PeerService"
DRAIN, LOADS = f"{SERVICE}/AwaitDrain", f"{SERVICE}/FollowLoads"
METHODS = pytest.mark.parametrize("method", [DRAIN, LOADS])

Headers = list[tuple[str, Any]]


class Shifted:
    """The clock of the machine, and so many seconds."""

    def __init__(self, member: Member, seconds: float) -> None:
        self._clock = member.forwarding.signer._clock
        self._seconds = seconds

    def time_ns(self) -> int:
        return self._clock.time_ns() + round(self._seconds * NANOS)

    def monotonic(self) -> float:
        return self._clock.monotonic()


@pytest.fixture
async def asked() -> AsyncIterator[tuple[World, Registry]]:
    made, servicers = registries(1)
    async with world(1, servicers=servicers) as members:
        yield members, made[0]


async def send(members: World, method: str, wire: bytes, headers: Headers) -> Failure:
    """Makes a call that must be refused."""
    channel = members.members[0].channel
    shape: Any = channel.unary_unary if method == DRAIN else channel.unary_stream
    call = shape(f"/{method}")
    metadata = tuple(headers)
    if method == DRAIN:
        return await failure(lambda: call(wire, metadata=metadata))
    return await failure(lambda: anext(aiter(call(wire, metadata=metadata))))


def signed(members: World, method: str) -> Headers:
    """What a member sends with a call of a method."""
    return [(HEADER, members.members[0].forwarding.signer.sign(method, identity="", caller="m1"))]


def tampered(members: World, method: str) -> Headers:
    forged = pb.ForwardedCall.FromString(signed(members, method)[0][1])
    forged.identity = "spiffe://example.org/operator/o"
    return [(HEADER, forged.SerializeToString())]


def by_another(members: World, method: str, secret: bytes = b"x" * 32, seconds: float = 0.0) -> Headers:
    member = members.members[0]
    return [(HEADER, Signer(secret, "m1", Shifted(member, seconds)).sign(method, identity="", caller="m1"))]


def strangers(members: World, method: str) -> list[Headers]:
    """What comes with calls of those that are no members, or were not made for this call."""
    other = LOADS if method == DRAIN else DRAIN
    return [
        [],
        [(HEADER, b"")],
        [(HEADER, b"\xff" * 100)],
        [(HEADER, bytes(7000))],
        [(HEADER, pb.ForwardedCall(member="m1", method=method).SerializeToString())],
        signed(members, other),
        signed(members, method) * 2,
        tampered(members, method),
        by_another(members, method),
        by_another(members, method, SECRET, -VALID_SECONDS - 5),
        by_another(members, method, SECRET, VALID_SECONDS + 5),
    ]


@METHODS
async def test_who_is_no_member_is_not_answered(asked: tuple[World, Registry], method: str) -> None:
    members, registry = asked
    for headers in strangers(members, method):
        told = await send(members, method, b"", headers)
        assert told.code is grpc.StatusCode.UNAUTHENTICATED, headers
    assert (registry.asked, registry.following) == ([], [])


@METHODS
async def test_a_signature_in_which_any_byte_is_another_is_none(asked: tuple[World, Registry], method: str) -> None:
    members, registry = asked
    ((_, good),) = signed(members, method)
    rng = random.Random(5)
    for _ in range(100):
        header = bytearray(good)
        header[rng.randrange(len(header))] ^= 1 << rng.randrange(8)
        told = await send(members, method, b"", [(HEADER, bytes(header))])
        assert told.code is grpc.StatusCode.UNAUTHENTICATED
    assert (registry.asked, registry.following) == ([], [])


@METHODS
async def test_what_is_no_message_or_too_large_is_refused_also_of_members(
    asked: tuple[World, Registry], method: str
) -> None:
    members, registry = asked
    for garbage in UNREADABLE:
        told = await send(members, method, garbage, signed(members, method))
        assert (told.code, told.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "INVALID_FIELD")
    for wire, headers in ((oversized_message(), []), (b"", LARGE_HEADERS)):
        told = await send(members, method, wire, [*signed(members, method), *headers])
        assert told.code is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert (registry.asked, registry.following) == ([], [])


async def test_a_drain_of_too_many_endpoints_is_refused(asked: tuple[World, Registry]) -> None:
    members, registry = asked
    request = pb.AwaitDrainRequest(endpoints=["e"] * 100_001)
    told = await send(members, DRAIN, request.SerializeToString(), signed(members, DRAIN))
    assert (told.code, list(told.violations)) == (grpc.StatusCode.INVALID_ARGUMENT, ["endpoints"])
    assert registry.asked == []
