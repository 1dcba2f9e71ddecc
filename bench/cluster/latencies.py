"""Single calls, one after the other: what a commit, a record, a lock and the way over another member take."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from sira.bus.v1.publish_service_pb2 import PublishRequest
from sira.bus.v1.publish_service_pb2_grpc import PublishServiceStub
from sira.bus.v1.record_pb2 import Record
from sira.cluster.v1.lock_service_pb2 import AcquireLockRequest, LockAcquisition, ReleaseLockRequest
from sira.cluster.v1.lock_service_pb2_grpc import LockServiceStub
from sira.registry.v1.registry_service_pb2 import CreateServiceRequest, UpdateServiceRequest
from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from sira.registry.v1.service_pb2 import Service

from bench.bus import messages
from bench.cluster.bare_store import BareStore, bare_store
from bench.cluster.stage import DURABILITY, Stage, staged
from bench.figures import Report, median
from bench.load import channels, closed_loop
from bench.processes import Server

ROUNDS = 3
CALLS = 300
TOPIC = "single"
SERVICE = f"{messages.NAMESPACE}/services/committed"
LOCK = f"{messages.NAMESPACE}/locks/bench"

Call = Callable[[int], Awaitable[object]]


async def run(report: Report, folder: Path) -> None:
    """In turn with the bare store, which publishes one message."""
    async with staged(folder, members=2) as stage, bare_store(stage.nodes.url) as store:
        await messages.prepare(stage.members[0], TOPIC)
        await _create(stage)
        owner = await stage.owner()
        (other,) = [member for member in stage.members if member is not owner]
        async with channels(owner.address, 1) as (near,), channels(other.address, 1) as (far,):
            calls = {
                "bare": _bare(store),
                "committed, one key": _commit(near),
                "published, one record": _publish(near),
                "published, one record, through another member": _publish(far),
                "acquired and released, a lock": _lock(near),
            }
            times = await _measure(calls)
    bare = times.pop("bare")
    for title, value in times.items():
        report.add(f"{title}, p50", value, "ms", durability=f"{DURABILITY}, both", baseline=bare)
    hop = times["published, one record, through another member"] - times["published, one record"]
    report.add("the way over another member, p50", hop, "ms")


async def _measure(calls: dict[str, Call]) -> dict[str, float]:
    """Returns the median of each, milliseconds, over all rounds."""
    latencies: dict[str, list[float]] = {title: [] for title in calls}
    for _ in range(ROUNDS):
        for title, call in calls.items():
            latencies[title] += (await closed_loop(call, concurrency=1, calls=CALLS)).latencies
    return {title: median(values) * 1e3 for title, values in latencies.items()}


async def _create(stage: Stage) -> None:
    member: Server = stage.members[0]
    async with channels(member.address, 1) as (channel,):
        await RegistryServiceStub(channel).CreateService(CreateServiceRequest(service=Service(name=SERVICE)))


def _bare(store: BareStore) -> Call:
    (payload,) = messages.payloads(1)
    return lambda _: store.publish(payload)


def _commit(channel: Any) -> Call:
    stub: Any = RegistryServiceStub(channel)

    async def call(number: int) -> None:
        request = UpdateServiceRequest(service=Service(name=SERVICE, description=str(number)))
        request.update_mask.paths.append("description")
        await stub.UpdateService(request)

    return call


def _publish(channel: Any) -> Call:
    stub: Any = PublishServiceStub(channel)
    (payload,) = messages.payloads(1)

    async def call(_: int) -> None:
        await stub.Publish(PublishRequest(topic=messages.topic(TOPIC), records=[Record(payload=payload)]))

    return call


def _lock(channel: Any) -> Call:
    stub: Any = LockServiceStub(channel)

    async def call(_: int) -> None:
        answer = await stub.AcquireLock(AcquireLockRequest(acquisition=LockAcquisition(name=LOCK)))
        await stub.ReleaseLock(ReleaseLockRequest(lock_key=answer.acquired.lock_key))

    return call
