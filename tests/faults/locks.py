"""Locks with fencing tokens: acquired by unary calls of any member, used for writes, kept too long, and given back."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from sira.cluster.v1.lock_service_pb2 import (
    AcquireLockRequest,
    GetLockRequest,
    LockAcquisition,
    ReleaseLockRequest,
    RenewLockRequest,
)
from sira.cluster.v1.lock_service_pb2_grpc import LockServiceStub
from sira.registry.v1.registry_service_pb2 import CreateServiceRequest, UpdateServiceRequest
from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from sira.registry.v1.service_pb2 import Service

from tests.faults.clients import CALL_SECONDS, Clients
from tests.faults.history import History
from tests.faults.linearizability import first_contradiction
from tests.faults.load import SETTLE_SECONDS, until_done
from tests.faults.meter import Meter
from tests.faults.models import DONE, REFUSED, Acquire, FencedLock, FencedWrite, Release

HOLDERS = 4
LOCKS = 2
TTL_SECONDS = 2
STALE = "FENCING_TOKEN_STALE"
GONE = "LOCK_LOST"
NOT_YET = "LOCK_HELD"


@dataclass(slots=True)
class Tenure:
    """What a holder knows of a lock that it has.

    It has it from when it was told so until one TTL after it last asked for more, whatever the kernel thinks.
    """

    lock: str
    key: str
    token: int
    since: float
    until: float


class Locks:
    """Holders that all want the same locks.

    Args:
        clients: of all members.
        rng: chooses.
        meter: counts.
    """

    def __init__(self, clients: Clients, rng: random.Random, meter: Meter) -> None:
        self._clients = clients
        self._rng = rng
        self._meter = meter
        self._history = History(meter.monotonic)
        self._tenures: defaultdict[str, list[Tenure]] = defaultdict(list)
        self._count = 0

    async def prepare(self) -> None:
        """See Load."""
        for number in range(LOCKS):
            request = CreateServiceRequest(service=Service(name=_guarded(str(number))))
            await RegistryServiceStub(self._clients.any()).CreateService(request, timeout=CALL_SECONDS)

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """See Load."""
        return [self._hold_on() for _ in range(HOLDERS)]

    async def finish(self) -> None:
        """See Load."""
        for number in range(LOCKS):
            lock = str(number)
            try:
                async with asyncio.timeout(SETTLE_SECONDS):
                    while (tenure := await self._acquire(lock, wait=5)) is None:
                        pass
                    await until_done(lambda: self._renew(tenure))
            except TimeoutError:
                request = GetLockRequest(name=_lock(lock))
                state = await LockServiceStub(self._clients.any()).GetLock(request, timeout=CALL_SECONDS)
                self._meter.findings.violation("stuck", f"lock {lock} is not to be had: {state.lock}")
            self._judge(lock)
        self._meter.findings.counts["lock operations judged"] = sum(self._history.counts.values())

    async def close(self) -> None:
        """See Load."""

    def _judge(self, lock: str) -> None:
        wrong = first_contradiction(self._history.by_object[lock], FencedLock())
        if wrong:
            told = "\n".join(str(operation) for operation in wrong[-12:])
            self._meter.findings.violation("not linearizable", f"lock {lock}, the last of {len(wrong)}:\n{told}")
        last: Tenure | None = None
        for tenure in sorted(self._tenures[lock], key=lambda tenure: tenure.since):
            if last is not None and tenure.since < last.until:
                self._meter.findings.violation("held by two", f"lock {lock}: {tenure} began before the end of {last}")
            if last is None or tenure.until > last.until:
                last = tenure

    async def _hold_on(self) -> None:
        while True:
            lock = str(self._rng.randrange(LOCKS))
            try:
                tenure = await self._acquire(lock, wait=self._rng.choice((0.0, 1.0, 3.0)))
                if tenure is not None:
                    await self._use(tenure)
            except grpc.aio.AioRpcError:
                pass  # noted where it was called
            await asyncio.sleep(self._rng.uniform(0, 0.2))

    async def _use(self, tenure: Tenure) -> None:
        for _ in range(self._rng.randint(1, 6)):
            await self._write(tenure)
            await asyncio.sleep(self._rng.uniform(0, 0.4))
            if self._rng.random() < 0.6 and not await self._renew(tenure):
                break
        if self._rng.random() < 0.25:
            # As one does that was stopped: its token is stale by now, or nobody else has wanted the lock.
            await asyncio.sleep(TTL_SECONDS * self._rng.uniform(0.9, 1.5))
            await self._write(tenure)
        if self._rng.random() < 0.8:
            await self._release(tenure)

    async def _acquire(self, lock: str, *, wait: float) -> Tenure | None:
        acquisition = LockAcquisition(name=_lock(lock))
        acquisition.ttl.FromSeconds(TTL_SECONDS)
        acquisition.wait.FromNanoseconds(round(wait * 1e9))
        invoked = self._history.monotonic()
        try:
            answer = await LockServiceStub(self._clients.any()).AcquireLock(
                AcquireLockRequest(acquisition=acquisition), timeout=wait + CALL_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            if self._failed("acquire a lock", error) != NOT_YET:
                self._history.unknown(lock, Acquire(), invoked)
            return None
        acquired = answer.acquired
        self._history.done(lock, Acquire(), acquired.token, invoked)
        self._meter.succeeded("acquire a lock")
        since = self._history.monotonic()
        # It may have waited for its turn: its time began when it got it, at the earliest when it asked.
        tenure = Tenure(lock, acquired.lock_key, acquired.token, since, max(since, invoked + TTL_SECONDS))
        self._tenures[lock].append(tenure)
        return tenure

    async def _renew(self, tenure: Tenure) -> bool:
        """Asks for another TTL; False if the lock is gone."""
        invoked = self._history.monotonic()
        try:
            await LockServiceStub(self._clients.any()).RenewLock(
                RenewLockRequest(lock_key=tenure.key), timeout=CALL_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            if self._failed("renew a lock", error) == GONE:
                self._gone(tenure, invoked, "lost")
                return False
            return True
        self._meter.succeeded("renew a lock")
        tenure.until = max(tenure.until, invoked + TTL_SECONDS)
        return True

    async def _write(self, tenure: Tenure) -> None:
        self._count += 1
        service = Service(name=_guarded(tenure.lock), description=f"{tenure.token}/{self._count}")
        request = UpdateServiceRequest(service=service)
        request.update_mask.paths.append("description")
        invoked = self._history.monotonic()
        call = FencedWrite(tenure.token)
        try:
            await RegistryServiceStub(self._clients.any()).UpdateService(
                request, timeout=CALL_SECONDS, metadata=(("sira-fencing", f"{_lock(tenure.lock)}={tenure.token}"),)
            )
        except grpc.aio.AioRpcError as error:
            if self._failed("write under a lock", error) == STALE:
                self._history.done(tenure.lock, call, REFUSED, invoked)
                self._meter.findings.counts["stale tokens refused"] += 1
                self._gone(tenure, invoked, "refused")
            else:
                self._history.unknown(tenure.lock, call, invoked)
            return
        self._history.done(tenure.lock, call, DONE, invoked)
        self._meter.succeeded("write under a lock")

    async def _release(self, tenure: Tenure) -> None:
        call = Release(tenure.token)
        invoked = self._history.monotonic()
        tenure.until = min(tenure.until, invoked)
        try:
            await LockServiceStub(self._clients.any()).ReleaseLock(
                ReleaseLockRequest(lock_key=tenure.key), timeout=CALL_SECONDS
            )
        except grpc.aio.AioRpcError as error:
            self._failed("release a lock", error)
            self._history.unknown(tenure.lock, call, invoked)
            return
        except asyncio.CancelledError:
            self._history.unknown(tenure.lock, call, invoked)
            raise
        self._history.done(tenure.lock, call, DONE, invoked)
        self._meter.succeeded("release a lock")

    def _failed(self, kind: str, error: grpc.aio.AioRpcError) -> str:
        return self._meter.failed(kind, error)

    def _gone(self, tenure: Tenure, invoked: float, what: str) -> None:
        """Notes that the kernel says that a lock is gone. It must not be before its time, and it does not come back."""
        now = self._history.monotonic()
        if now < tenure.until:
            left = tenure.until - now
            told = f"lock {tenure.lock}, token {tenure.token}, {left:.2f} s before its time"
            self._meter.findings.violation(f"{what} too early", told)
        tenure.until = min(tenure.until, invoked)


def _lock(number: str) -> str:
    return f"namespaces/default/locks/lock-{number}"


def _guarded(number: str) -> str:
    return f"namespaces/default/services/guarded-{number}"
