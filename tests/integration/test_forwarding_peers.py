"""What members ask each other: loads and drains, by signed calls only."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Sequence
from typing import Any

import grpc
import pytest
from sira.cluster.internal.v1 import peer_service_pb2 as pb
from sira.cluster.internal.v1.peer_service_pb2_grpc import PeerServiceStub, add_PeerServiceServicer_to_server
from sira.registry.v1.load_pb2 import EndpointLoad

from sira_grpc.config import LimitsConfig
from sira_grpc.rpc.peer_servicer import PeerServicer
from sira_grpc.rpc.server import Registration
from tests.integration.edge_server import failure
from tests.integration.forwarding_world import World, world


class Registry:
    """The registry of a member, as far as its peers see it."""

    def __init__(self) -> None:
        self.reported: list[EndpointLoad] = []
        self.following: list[asyncio.Queue[list[EndpointLoad]]] = []
        self.remote: asyncio.Queue[str] = asyncio.Queue()
        self.left = asyncio.Event()
        self.asked: list[tuple[list[str], int, float]] = []
        self.counts = (0, 0)

    async def follow(self) -> AsyncGenerator[list[EndpointLoad], None]:
        queue: asyncio.Queue[list[EndpointLoad]] = asyncio.Queue()
        self.following.append(queue)
        try:
            if self.reported:
                yield list(self.reported)
            while True:
                yield await queue.get()
        finally:
            self.following.remove(queue)
            self.left.set()

    def report(self, *names: str) -> None:
        loads = [EndpointLoad(name=name) for name in names]
        self.reported += loads
        for queue in self.following:
            queue.put_nowait(loads)

    def put_remote(self, loads: Iterable[EndpointLoad]) -> None:
        for load in loads:
            self.remote.put_nowait(load.name)

    async def await_local(self, endpoints: Sequence[str], revision: int, patience: float) -> tuple[int, int]:
        self.asked.append((list(endpoints), revision, patience))
        return self.counts


def registries(count: int) -> tuple[list[Registry], Any]:
    made = [Registry() for _ in range(count)]

    def servicers(number: int) -> list[Registration]:
        return [(add_PeerServiceServicer_to_server, PeerServicer(made[number], made[number]))]

    return made, servicers


def _start(members: World, made: list[Registry]) -> None:
    for member, registry in zip(members.members, made, strict=True):
        member.forwarding.start(registry)


async def test_loads_are_followed_at_every_other_member() -> None:
    made, servicers = registries(3)
    async with world(3, servicers=servicers) as members:
        _start(members, made)
        made[0].report("a", "b")
        for number in (1, 2):
            assert [await made[number].remote.get() for _ in range(2)] == ["a", "b"]
        made[0].report("c")
        for number in (1, 2):
            assert await made[number].remote.get() == "c"
        assert made[0].remote.empty()


async def test_who_is_gone_is_followed_no_more_and_who_comes_is() -> None:
    made, servicers = registries(2)
    async with world(2, servicers=servicers) as members:
        first = members.members[0]
        first.placement.set_live("m0")
        first.forwarding.start(made[0])
        first.placement.set_live("m0", "m1")
        made[1].report("a")
        assert await made[0].remote.get() == "a"
        first.placement.set_live("m0")
        await made[1].left.wait()
        first.placement.set_live("m0", "m1")
        made[1].report("b")
        assert [await made[0].remote.get() for _ in range(2)] == ["a", "b"]
        assert not first.forwarding.failed.is_set()


async def test_a_member_that_is_not_up_yet_is_followed_once_it_is() -> None:
    made, servicers = registries(2)
    async with world(2, servicers=servicers) as members:
        first = members.members[0]
        addresses = members.addresses.pop("m1")
        first.forwarding.start(made[0])
        made[1].report("a")
        members.addresses["m1"] = addresses
        assert await made[0].remote.get() == "a"


async def test_a_drain_waits_for_the_watchers_of_all_members() -> None:
    made, servicers = registries(3)
    made[1].counts, made[2].counts = (3, 1), (4, 0)
    # What members ask does not count for any caller.
    async with world(3, servicers=servicers, limits=LimitsConfig(calls_per_second_per_caller=1)) as members:
        drains = members.members[0].forwarding.peer_drains
        for _ in range(3):
            assert await drains.await_drain(["e"], 7, 2.0) == (7, 1)
        endpoints, revision, patience = made[1].asked[0]
        assert (endpoints, revision) == (["e"], 7)
        assert 0 < patience <= 2.0
        assert made[0].asked == []


async def test_a_member_that_cannot_be_reached_counts_as_one_that_was_not_told() -> None:
    made, servicers = registries(3)
    made[1].counts = (3, 0)
    async with world(3, servicers=servicers) as members:
        members.addresses["m2"] = ("127.0.0.1:1",)
        assert await members.members[0].forwarding.peer_drains.await_drain(["e"], 7, 0.5) == (3, 1)


@pytest.mark.parametrize("metadata", [(), (("sira-forwarded-bin", b"forged"),)])
async def test_nobody_but_members_is_answered(metadata: tuple[tuple[str, bytes], ...]) -> None:
    made, servicers = registries(1)
    async with world(1, servicers=servicers) as members:
        stub: Any = PeerServiceStub(members.members[0].channel)
        told = await failure(stub.AwaitDrain(pb.AwaitDrainRequest(), metadata=metadata))
        assert told.code is grpc.StatusCode.UNAUTHENTICATED
        told = await failure(lambda: anext(aiter(stub.FollowLoads(pb.FollowLoadsRequest(), metadata=metadata))))
        assert told.code is grpc.StatusCode.UNAUTHENTICATED
        assert (made[0].asked, made[0].following) == ([], [])
