"""Unary calls beside the floor: Resolve, registrations, renewals."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from sira.registry.v1 import registry_service_pb2 as registry

from bench.figures import Report, median, percentile
from bench.load import Rate, channels, closed_loop
from bench.processes import Server
from bench.registry import messages

ROUNDS = 4
CALLS = 6_000
CONCURRENCY = 64
CHANNELS = 4

Call = Callable[[int], Awaitable[object]]


async def in_turn(first: Call, second: Call, *, calls: int = CALLS) -> tuple[list[Rate], list[Rate]]:
    """Runs two closed loops A B A B and returns their rates."""
    ours, floor = [], []
    for _ in range(ROUNDS):
        ours.append(await closed_loop(first, concurrency=CONCURRENCY, calls=calls))
        floor.append(await closed_loop(second, concurrency=CONCURRENCY, calls=calls))
    return ours, floor


def _spread(opened: list[Any], method: str) -> list[Any]:
    return [channel.unary_unary(method) for channel in opened]


async def resolve(report: Report, kernel: Server, bare: Server) -> None:
    """Resolve of a service with ten endpoints, through every interceptor, beside the same bytes from the floor."""
    async with channels(kernel.address, CHANNELS) as opened, channels(bare.address, CHANNELS) as bare_opened:
        await opened[0].unary_unary(messages.REGISTRY + "RegisterEndpoints")(
            messages.register([messages.endpoint("resolved", i) for i in range(10)])
        )
        request = messages.resolve("resolved")
        ours = _spread(opened, messages.RESOLVER + "Resolve")
        floor = _spread(bare_opened, "/bare.Bare/Answer")
        await bare_opened[0].unary_unary("/bare.Bare/Load")(await ours[0](request))
        mine, theirs = await in_turn(lambda i: ours[i % CHANNELS](request), lambda i: floor[i % CHANNELS](request))
    report.add(
        "Resolve of 10 endpoints",
        median([r.rate for r in mine]),
        "calls/s",
        baseline=median([r.rate for r in theirs]),
        ratio_at_least=0.65,
    )
    report.add(
        "Resolve of 10 endpoints, p99",
        median([percentile(r.latencies, 0.99) for r in mine]) * 1e3,
        "ms",
        baseline=median([percentile(r.latencies, 0.99) for r in theirs]) * 1e3,
        ratio_at_most=2,
    )


async def registrations(report: Report, kernel: Server, bare: Server) -> None:
    """Endpoints registered one a call by many callers, and many a call by one registrar."""
    async with channels(kernel.address, CHANNELS) as opened, channels(bare.address, CHANNELS) as bare_opened:
        ours = _spread(opened, messages.REGISTRY + "RegisterEndpoints")
        floor = _spread(bare_opened, "/bare.Bare/Answer")
        single = [messages.register([messages.endpoint("single", i)]) for i in range(ROUNDS * CALLS // 2)]
        numbers = iter(single)
        mine, theirs = await in_turn(
            lambda i: ours[i % CHANNELS](next(numbers)), lambda i: floor[i % CHANNELS](single[i]), calls=CALLS // 2
        )
        report.add(
            "registrations, one endpoint and lease a call",
            median([r.rate for r in mine]),
            "registrations/s",
            durability="fdatasync before the answer",
            baseline=median([r.rate for r in theirs]),
            at_least=1200,
        )
        total = 40_000
        batches = [
            messages.register([messages.endpoint("many", i) for i in range(start, start + messages.PER_MESSAGE)])
            for start in range(0, total, messages.PER_MESSAGE)
        ]
        result = await closed_loop(lambda i: ours[0](batches[i]), concurrency=4, calls=len(batches))
    report.add(
        f"endpoints registered, {messages.PER_MESSAGE} a message",
        result.rate * messages.PER_MESSAGE,
        "endpoints/s",
        durability="fdatasync before the answer",
        at_least=15_000,
    )


async def renewals(report: Report, kernel: Server, bare: Server) -> None:
    """Leases renewed one a call, and ten thousand in one message."""
    count = 10_000
    async with channels(kernel.address, CHANNELS) as opened, channels(bare.address, CHANNELS) as bare_opened:
        register = opened[0].unary_unary(
            messages.REGISTRY + "RegisterEndpoints",
            response_deserializer=registry.RegisterEndpointsResponse.FromString,
        )
        keys: list[str] = []

        async def lease(number: int) -> None:
            keys.append((await register(messages.register([messages.endpoint("leased", number)]))).lease_key)

        await closed_loop(lease, concurrency=CONCURRENCY, calls=count)
        ours = _spread(opened, messages.REGISTRY + "RenewLeases")
        floor = _spread(bare_opened, "/bare.Bare/Answer")
        await bare_opened[0].unary_unary("/bare.Bare/Load")(b"")
        single = [registry.RenewLeasesRequest(lease_keys=[key]).SerializeToString() for key in keys]
        mine, theirs = await in_turn(lambda i: ours[i % CHANNELS](single[i]), lambda i: floor[i % CHANNELS](single[i]))
        report.add(
            "renewals, one lease a call",
            median([r.rate for r in mine]),
            "renewals/s",
            baseline=median([r.rate for r in theirs]),
            ratio_at_least=0.6,
        )
        every = registry.RenewLeasesRequest(lease_keys=keys).SerializeToString()
        bulk = await closed_loop(lambda i: ours[0](every), concurrency=1, calls=20)
    report.add(f"renewals, {count} leases a message", bulk.rate * count, "leases/s", at_least=40_000)
