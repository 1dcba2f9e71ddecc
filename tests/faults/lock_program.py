"""Programs that take a lock, or a permit of a semaphore, through the client library, and write while they have it."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import grpc
from sira.registry.v1.registry_service_pb2 import CreateServiceRequest, UpdateServiceRequest
from sira.registry.v1.service_pb2 import Service
from sira_client import Client, LockHeldError, Settings, connect_insecure
from sira_client.locks import Lock

from tests.faults.history import History
from tests.faults.linearizability import first_contradiction
from tests.faults.load import SETTLE_SECONDS
from tests.faults.meter import Meter
from tests.faults.models import DONE, REFUSED, Acquire, FencedLock, FencedWrite

CAPACITIES = {"program": 1, "permits": 2}
PROGRAMS = 3
TTL_SECONDS = 10.0
"""Longer than a client needs to find out about a member that stands still."""
STALE = "FENCING_TOKEN_STALE"


@dataclass(frozen=True, slots=True)
class Stay:
    """For how long a program was sure to hold something: from its acquisition to when it last looked."""

    token: int
    since: float
    until: float


class LockPrograms:
    """Programs that want one lock, and as many that want one semaphore.

    Args:
        addresses: of the members.
        rng: chooses.
        meter: counts.
    """

    def __init__(self, addresses: Sequence[str], rng: random.Random, meter: Meter) -> None:
        self._addresses = addresses
        self._rng = rng
        self._meter = meter
        self._history = History(meter.monotonic)
        self._stays: defaultdict[str, list[Stay]] = defaultdict(list)
        self._stack = AsyncExitStack()
        self._clients: list[Client] = []
        self._count = 0

    async def prepare(self) -> None:
        """See Load."""
        for _ in range(PROGRAMS * len(CAPACITIES)):
            settings = Settings(random=random.Random(self._rng.random()))
            client = connect_insecure(self._addresses, settings=settings)
            self._clients.append(await self._stack.enter_async_context(client))
        for name in CAPACITIES:
            request = CreateServiceRequest(service=Service(name=_guarded(name)))
            await self._clients[0].registry.CreateService(request)

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """See Load."""
        names = list(CAPACITIES) * PROGRAMS
        return [self._go_on(client, name) for client, name in zip(self._clients, names, strict=True)]

    async def finish(self) -> None:
        """See Load."""
        for client, name in zip(self._clients, CAPACITIES, strict=False):
            try:
                async with asyncio.timeout(SETTLE_SECONDS):
                    await self._hold(client, name, wait=None)
            except TimeoutError:
                state = await client.locks().get(_lock(name))
                self._meter.findings.violation("stuck", f"{name} is not to be had: {state}")
            self._judge(name)
        self._meter.findings.counts["holds of programs"] = sum(map(len, self._stays.values()))

    async def close(self) -> None:
        """See Load."""
        await self._stack.aclose()

    def _judge(self, name: str) -> None:
        wrong = first_contradiction(self._history.by_object[name], FencedLock())
        if wrong and CAPACITIES[name] == 1:
            told = "\n".join(str(operation) for operation in wrong[-12:])
            self._meter.findings.violation("not linearizable", f"{name}, the last of {len(wrong)}:\n{told}")
        stays = self._stays[name]
        for stay in stays:
            others = [other for other in stays if other.since <= stay.since < other.until]
            if len(others) > CAPACITIES[name]:
                self._meter.findings.violation("held by two", f"{name}: {others}")

    async def _go_on(self, client: Client, name: str) -> None:
        while True:
            try:
                await self._hold(client, name, wait=self._rng.choice((None, 5.0)))
            except LockHeldError:
                self._meter.findings.counts["locks that programs did not get in time"] += 1
            except grpc.aio.AioRpcError as error:
                self._meter.failed(f"hold with the client: {name}", error)
            await asyncio.sleep(self._rng.uniform(0, 0.3))

    async def _hold(self, client: Client, name: str, *, wait: float | None) -> None:
        """Acquires, writes a few times, and releases."""
        locks = client.locks()
        lock = (
            locks.lock(_lock(name), ttl=TTL_SECONDS, wait=wait)
            if CAPACITIES[name] == 1
            else locks.semaphore(_lock(name), CAPACITIES[name], ttl=TTL_SECONDS, wait=wait)
        )
        invoked = self._history.monotonic()
        async with lock:
            self._history.done(name, Acquire(), lock.token, invoked)
            self._meter.succeeded(f"hold with the client: {name}")
            since = until = self._history.monotonic()
            for _ in range(self._rng.randint(1, 5)):
                await self._write(client, name, lock)
                await asyncio.sleep(self._rng.uniform(0, 0.5))
                if lock.lost.is_set():
                    self._meter.findings.counts["locks that programs lost"] += 1
                    break
                if lock.held:
                    until = self._history.monotonic()
            self._stays[name].append(Stay(lock.token, since, until))

    async def _write(self, client: Client, name: str, lock: Lock) -> None:
        self._count += 1
        request = UpdateServiceRequest(service=Service(name=_guarded(name), description=str(self._count)))
        request.update_mask.paths.append("description")
        invoked = self._history.monotonic()
        call = FencedWrite(lock.token)
        try:
            await client.registry.UpdateService(request, metadata=lock.metadata)
        except grpc.aio.AioRpcError as error:
            if self._meter.failed("write with the client", error) != STALE:
                self._history.unknown(name, call, invoked)
                return
            self._history.done(name, call, REFUSED, invoked)
            if lock.held:
                told = f"{name}, token {lock.token}, which its program still has"
                self._meter.findings.violation("refused too early", told)
        else:
            self._history.done(name, call, DONE, invoked)
            self._meter.succeeded("write with the client")


def _lock(name: str) -> str:
    return f"namespaces/default/locks/{name}"


def _guarded(name: str) -> str:
    return f"namespaces/default/services/guarded-by-{name}"
