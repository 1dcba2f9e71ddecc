"""The drain across members."""

from __future__ import annotations

from typing import Any, cast

from grpc import StatusCode, aio
from sira.cluster.internal.v1.peer_service_pb2 import AwaitDrainRequest, AwaitDrainResponse

from sira_grpc.rpc.forwarding.peer_drains import CHUNK_BYTES, MAX_CHUNK_BYTES, PeerDrains
from tests.clocks import FakeClock


class ToldCalls:
    """Members that answer what they are told to."""

    def __init__(self, answers: dict[str, Any]) -> None:
        self.answers = answers
        self.asked: list[tuple[str, AwaitDrainRequest]] = []

    @property
    def others(self) -> frozenset[str]:
        return frozenset(self.answers)

    async def await_drain(self, member: str, request: AwaitDrainRequest, patience: float) -> AwaitDrainResponse | None:
        self.asked.append((member, request))
        answer = self.answers[member]
        if isinstance(answer, Exception):
            raise answer
        return cast("AwaitDrainResponse | None", answer)


def drains(answers: dict[str, Any]) -> tuple[PeerDrains, ToldCalls]:
    calls = ToldCalls(answers)
    return PeerDrains(cast(Any, calls), FakeClock()), calls


async def test_the_watchers_of_all_members_are_added_up() -> None:
    failed = aio.AioRpcError(StatusCode.UNAVAILABLE, aio.Metadata(), aio.Metadata())
    made, calls = drains(
        {"a": AwaitDrainResponse(notified=3, pending=1), "b": AwaitDrainResponse(notified=4), "c": None, "d": failed}
    )
    assert await made.await_drain(["e"], 7, 2.5) == (7, 3)
    assert {member for member, _ in calls.asked} == {"a", "b", "c", "d"}
    assert {(request.revision, request.patience.ToMilliseconds()) for _, request in calls.asked} == {(7, 2500)}


async def test_alone_there_is_nobody_to_wait_for() -> None:
    made, _ = drains({})
    assert await made.await_drain(["e"], 7, 2.5) == (0, 0)


async def test_what_does_not_fit_is_asked_in_parts_and_a_service_in_one() -> None:
    services = [f"namespaces/default/services/s{number}" for number in range(5)]
    names = [f"{service}/endpoints/{'e' * 60}-{number:05}" for service in services for number in range(9_000)]
    made, calls = drains({"a": AwaitDrainResponse(notified=1)})
    notified, _ = await made.await_drain(names[::-1], 7, 2.5)
    assert sorted(name for _, request in calls.asked for name in request.endpoints) == sorted(names)
    assert notified == len(calls.asked) > 1
    assert all(CHUNK_BYTES / 2 < request.ByteSize() < 4 << 20 for _, request in calls.asked[:-1])
    held = [{name.partition("/endpoints/")[0] for name in request.endpoints} for _, request in calls.asked]
    assert sum(map(len, held)) == len(services)


async def test_a_service_that_does_not_fit_is_asked_in_parts() -> None:
    names = [f"namespaces/default/services/s/endpoints/{'e' * 57}-{number:05}" for number in range(40_000)]
    made, calls = drains({"a": AwaitDrainResponse()})
    await made.await_drain(names, 7, 2.5)
    assert [name for _, request in calls.asked for name in request.endpoints] == names
    assert all(request.ByteSize() < MAX_CHUNK_BYTES + 4096 for _, request in calls.asked)
