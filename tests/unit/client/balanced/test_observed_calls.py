from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from random import Random

import grpc
import pytest
from sira.registry.v1.outlier_detection_pb2 import FailurePercentage, OutlierDetection
from sira.registry.v1.traffic_policy_pb2 import LB_POLICY_ORCA_WEIGHTED
from sira_client import BalancedChannel, Client, Settings, connect_insecure
from sira_client.balanced.lane import told

from tests.unit.client.balanced.echo_service import (
    FAILOVER,
    HERE,
    ONE,
    connected,
    endpoint,
    service,
    spread,
)
from tests.unit.client.echo import Context
from tests.unit.client.flaky import Flaky
from tests.unit.client.in_memory_kernel import InMemoryKernel
from tests.unit.client.step_clock import StepClock

UNAVAILABLE = grpc.StatusCode.UNAVAILABLE
CPU, RPS = bytes.fromhex("09000000000000e03f"), 0x18  # cpu_utilization 0.5; the tag of rps


class Reporting(Flaky):
    """Tells of its load with each answer; or on a stream, as long as there is anything in `reports`."""

    report = b""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.reports: asyncio.Queue[bytes] = asyncio.Queue()
        self.listeners = 0

    def other_services(self) -> tuple[grpc.GenericRpcHandler, ...]:
        methods: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "StreamCoreMetrics": grpc.unary_stream_rpc_method_handler(self._stream)
        }
        return (grpc.method_handlers_generic_handler("xds.service.orca.v3.OpenRcaService", methods),)

    async def _stream(self, request: bytes, context: Context) -> AsyncIterator[bytes]:
        assert request == bytes([0x0A, 0x02, 0x08, 10])
        self.listeners += 1
        try:
            while True:
                yield await self.reports.get()
                self.reports.task_done()
        finally:
            self.listeners -= 1

    async def _one(self, request: bytes, context: Context) -> bytes:
        answer = await super()._one(request, context)
        if self.report:
            context.set_trailing_metadata((("sira-load-metrics-bin", self.report),))
        return answer


@pytest.fixture
async def servers() -> AsyncIterator[list[Reporting]]:
    started = [Reporting(name) for name in "abc"]
    for server in started:
        await server.start()
    yield started
    for server in started:
        await server.stop()


@pytest.fixture
async def kernel_of_them(kernel: InMemoryKernel, servers: list[Reporting]) -> InMemoryKernel:
    await kernel.put(*(endpoint(server) for server in servers), service=service())
    return kernel


@pytest.fixture
def clock() -> StepClock:
    return StepClock()


@pytest.fixture
async def stepped(kernel: InMemoryKernel, clock: StepClock) -> AsyncIterator[Client]:
    async with connect_insecure(kernel.address, settings=Settings(clock=clock, random=Random(5))) as connected_client:
        yield connected_client


def detection(percent: int = 50) -> OutlierDetection:
    made = OutlierDetection(
        max_ejection_percent=percent, failure_percentage=FailurePercentage(minimum_hosts=1, request_volume=2)
    )
    made.base_ejection_time.seconds = 30
    return made


async def codes(channel: BalancedChannel, calls: int = 30) -> Counter[grpc.StatusCode]:
    return Counter([await channel.unary_unary(ONE)(b"", timeout=20).code() for _ in range(calls)])


async def test_who_fails_is_left_out_for_a_while(
    stepped: Client, kernel_of_them: InMemoryKernel, servers: list[Reporting], clock: StepClock
) -> None:
    await kernel_of_them.put(service=service(outlier_detection=detection()))
    channel = stepped.channel("echo")
    await connected(channel, 3)
    servers[0].fail(*[UNAVAILABLE] * 10)
    assert await codes(channel) == {UNAVAILABLE: 10, grpc.StatusCode.OK: 20}
    clock.advance(10)
    await connected(channel, 2)
    assert await spread(channel) == {"b": 15, "c": 15}
    for _ in range(3):
        await clock.somebody_sleeps(10)
        clock.advance(10)
    await connected(channel, 3)
    assert await spread(channel) == {"a": 10, "b": 10, "c": 10}


async def test_a_policy_without_it_takes_all_back(
    stepped: Client, kernel_of_them: InMemoryKernel, servers: list[Reporting], clock: StepClock
) -> None:
    await kernel_of_them.put(service=service(outlier_detection=detection()))
    channel = stepped.channel("echo")
    await connected(channel, 3)
    servers[0].fail(*[UNAVAILABLE] * 10)
    await codes(channel)
    clock.advance(10)
    await connected(channel, 2)
    await kernel_of_them.put(service=service())
    await connected(channel, 3)
    assert await spread(channel) == {"a": 10, "b": 10, "c": 10}


async def test_where_all_are_left_out_all_are_used(
    stepped: Client, kernel_of_them: InMemoryKernel, servers: list[Reporting], clock: StepClock
) -> None:
    await kernel_of_them.put(service=service(outlier_detection=detection(100)))
    channel = stepped.channel("echo")
    await connected(channel, 3)
    for server in servers:
        server.fail(*[UNAVAILABLE] * 10)
    assert await codes(channel) == {UNAVAILABLE: 30}
    clock.advance(10)
    while len(channel._balancer._observer.ejected) != 3:
        await channel._balancer.changed()
    assert set(await spread(channel)) == {"a", "b", "c"}


async def test_a_tier_that_fails_is_stood_in_for(
    stepped: Client, kernel_of_them: InMemoryKernel, servers: list[Reporting], clock: StepClock
) -> None:
    near, far, gone = servers
    await kernel_of_them.remove(endpoint(gone).name)
    policy = service(outlier_detection=detection(), **FAILOVER)
    await kernel_of_them.put(endpoint(near, region="eu", zone="a"), endpoint(far, region="us"), service=policy)
    channel = stepped.channel("echo", locality=HERE)
    near.fail(*[UNAVAILABLE] * 10)
    assert await codes(channel, 10) == {UNAVAILABLE: 10}
    clock.advance(10)
    async with asyncio.timeout(20):
        while [c.endpoint.name for c in channel._balancer._connected()] != [endpoint(far).name]:
            await channel._balancer.changed()
    assert await spread(channel) == {"b": 30}


async def test_what_a_caller_gives_up_says_nothing(
    stepped: Client, kernel_of_them: InMemoryKernel, servers: list[Reporting], clock: StepClock
) -> None:
    await kernel_of_them.put(service=service(outlier_detection=detection()))
    channel = stepped.channel("echo")
    await connected(channel, 3)
    calls = [channel.unary_unary(ONE)(b"wait") for _ in range(9)]
    for server in servers:
        for _ in range(3):
            await server.under_way.acquire()
    for call in calls:
        call.cancel()
        await call.code()
    await clock.somebody_sleeps(10)
    clock.advance(10)
    await clock.somebody_sleeps(10)
    assert not channel._balancer._observer.ejected


async def test_another_interval_counts_at_once(
    stepped: Client, kernel_of_them: InMemoryKernel, clock: StepClock
) -> None:
    await kernel_of_them.put(service=service(outlier_detection=detection()))
    async with stepped.channel("echo") as channel:
        await connected(channel, 3)
        await clock.somebody_sleeps(10)
        sooner = detection()
        sooner.interval.seconds = 2
        await kernel_of_them.put(service=service(outlier_detection=sooner))
        await clock.somebody_sleeps(2)
    await channel.close()


async def test_calls_go_by_reported_load(
    stepped: Client, kernel_of_them: InMemoryKernel, servers: list[Reporting], clock: StepClock
) -> None:
    await kernel_of_them.put(service=service(lb_policy=LB_POLICY_ORCA_WEIGHTED))
    channel = stepped.channel("echo")
    await connected(channel, 3)
    for server, rps in zip(servers, (30, 10, 0), strict=True):
        server.report = CPU + bytes([RPS, rps])
    servers[2].report = b"\xff"
    assert await spread(channel) == {"a": 10, "b": 10, "c": 10}
    for _ in range(11):
        await clock.somebody_sleeps(1)
        clock.advance(1)
    await clock.somebody_sleeps(1)
    counts = await spread(channel, 60)
    assert {name: round(count / 10) for name, count in counts.items()} == {"a": 3, "b": 1, "c": 2}
    await kernel_of_them.put(service=service())
    await channel._balancer.changed()
    assert await spread(channel) == {"a": 10, "b": 10, "c": 10}


async def test_calls_go_by_load_that_is_told_all_the_while(
    stepped: Client, kernel_of_them: InMemoryKernel, servers: list[Reporting], clock: StepClock
) -> None:
    await kernel_of_them.put(service=service(lb_policy=LB_POLICY_ORCA_WEIGHTED))
    channel = stepped.channel("echo")
    await connected(channel, 3)
    observer = channel._balancer._observer
    for server, rps in zip(servers, (30, 10, 0), strict=True):
        server.reports.put_nowait(b"\xff")
        server.reports.put_nowait(CPU + bytes([RPS, rps]))
        server.reports.put_nowait(b"")
        await server.reports.join()
    async with asyncio.timeout(20):
        while len(observer._loads._known if observer._loads else ()) < 2:
            await spread(channel, 1)
    for _ in range(11):
        await clock.somebody_sleeps(1)
        clock.advance(1)
    await clock.somebody_sleeps(1)
    counts = await spread(channel, 60)
    assert {name: round(count / 10) for name, count in counts.items()} == {"a": 3, "b": 1, "c": 2}
    await servers[0].stop()
    await connected(channel, 2)
    assert len(observer._streams._streams) == 2
    await kernel_of_them.put(service=service())
    async with asyncio.timeout(20):
        while observer._streams._streams:
            await channel._balancer.changed()


def test_what_a_call_tells_only_later_is_not_waited_for() -> None:
    async def later() -> int:
        await asyncio.sleep(0)
        return 1

    async def fails() -> int:
        raise grpc.aio.AioRpcError(UNAVAILABLE, grpc.aio.Metadata(), grpc.aio.Metadata())

    assert told(later()) is None
    assert told(fails()) is None
