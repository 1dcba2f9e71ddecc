"""Descriptions of services as registers: read anywhere, and written anywhere with the etag that was read."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict
from collections.abc import Coroutine, Sequence
from typing import Any

import grpc
from sira.registry.v1.registry_service_pb2 import CreateServiceRequest, UpdateServiceRequest
from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from sira.registry.v1.resolver_service_pb2 import GetServiceRequest
from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceStub
from sira.registry.v1.service_pb2 import Service

from tests.faults.clients import CALL_SECONDS, Clients
from tests.faults.history import History
from tests.faults.linearizability import first_contradiction
from tests.faults.load import SETTLE_SECONDS, until_done
from tests.faults.meter import Meter
from tests.faults.models import DONE, REFUSED, CompareAndSet, Register

WRITERS = 5
REGISTERS = 4
FIRST = "first"
PAUSE_SECONDS = 0.06
MISMATCH = "ETAG_MISMATCH"


class Registers:
    """Writers that all want the same.

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
        self._names = [f"namespaces/default/services/register-{number}" for number in range(REGISTERS)]
        self._written: defaultdict[str, set[str]] = defaultdict(lambda: {FIRST})
        self._count = 0

    async def prepare(self) -> None:
        """See Load."""
        for name in self._names:
            request = CreateServiceRequest(service=Service(name=name, description=FIRST))
            await RegistryServiceStub(self._clients.any()).CreateService(request, timeout=CALL_SECONDS)

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """See Load."""
        return [self._write_on() for _ in range(WRITERS)]

    async def finish(self) -> None:
        """See Load."""
        for name in self._names:
            await self._converge(name)
            history = self._history.by_object[name]
            kind = "not linearizable"
            wrong = first_contradiction([each for each in history if each.result != REFUSED], Register(FIRST))
            if not wrong:
                # Nothing was lost or overwritten; a writer may still have been sent away that had the newest value.
                kind = "refused without cause"
                wrong = first_contradiction(history, Register(FIRST))
            if wrong:
                told = "\n".join(str(operation) for operation in wrong[-12:])
                self._meter.findings.violation(kind, f"{name}, the last of {len(wrong)}:\n{told}")
        self._meter.findings.counts["compare-and-set operations judged"] = sum(self._history.counts.values())

    async def close(self) -> None:
        """See Load."""

    async def _write_on(self) -> None:
        while True:
            name = self._rng.choice(self._names)
            try:
                read = await self._read(self._clients.any(), name)
            except grpc.aio.AioRpcError as error:
                self._meter.failed("read a service", error)
            else:
                await self._write(self._clients.any(), read)
            await asyncio.sleep(self._rng.uniform(0, PAUSE_SECONDS))

    async def _read(self, channel: grpc.aio.Channel, name: str) -> Service:
        answer = await ResolverServiceStub(channel).GetService(GetServiceRequest(name=name), timeout=CALL_SECONDS)
        self._meter.succeeded("read a service")
        service: Service = answer.service
        if service.description not in self._written[name]:
            self._meter.findings.violation("read what was never written", f"{name}: {service.description!r}")
        return service

    async def _write(self, channel: grpc.aio.Channel, read: Service) -> bool:
        """Compares and sets; True if that is surely done."""
        self._count += 1
        call = CompareAndSet(read.description, str(self._count))
        self._written[read.name].add(call.new)
        request = UpdateServiceRequest(service=Service(name=read.name, description=call.new, etag=read.etag))
        request.update_mask.paths.append("description")
        invoked = self._history.monotonic()
        try:
            answer = await RegistryServiceStub(channel).UpdateService(request, timeout=CALL_SECONDS)
        except grpc.aio.AioRpcError as error:
            if self._meter.failed("write a service", error) == MISMATCH:
                self._history.done(read.name, call, REFUSED, invoked)
            else:
                self._history.unknown(read.name, call, invoked)
            return False
        except asyncio.CancelledError:
            self._history.unknown(read.name, call, invoked)
            raise
        self._history.done(read.name, call, DONE, invoked)
        self._meter.succeeded("write a service")
        if answer.service.description != call.new:
            self._meter.findings.violation("changed", f"{read.name}: {answer.service.description!r}, not {call.new!r}")
        return True

    async def _converge(self, name: str) -> None:
        """Writes once more, and waits until every member shows it."""
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                while not await self._write(
                    self._clients.any(), await until_done(lambda: self._read(self._clients.any(), name))
                ):
                    pass
                last = str(self._count)
                for channel in self._clients.channels:
                    while (await until_done(lambda: self._read(channel, name))).description != last:  # noqa: B023 - awaited at once
                        pass
        except TimeoutError:
            self._meter.findings.violation("stuck", f"{name} cannot be written, or its members do not agree on it")
