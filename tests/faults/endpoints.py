"""Endpoints that programs hold through the client library, and watches that must show all that live and no other."""

from __future__ import annotations

import asyncio
import random
import sys
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sira.registry.v1.registry_service_pb2 import CreateServiceRequest
from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from sira.registry.v1.service_pb2 import Service

from tests.faults.clients import CALL_SECONDS, Clients
from tests.faults.endpoint_watch import EndpointWatch
from tests.faults.load import SETTLE_SECONDS
from tests.faults.meter import Meter

HOLDERS = 2
ENDPOINTS = 3
"""Of each holder."""
TTL_SECONDS = 12
"""Longer than a client needs to find out about a member that stands still, and for an attempt or two elsewhere."""
GRACE_SECONDS = 5
"""How much longer than a TTL an endpoint may be served, at most, while nothing but its holder is broken."""
DIES = 0.6
"""How likely it is that a holder is killed."""
LIVES = (4.0, 15.0)
"""After how many seconds it is."""

Broken = Callable[[float], tuple[int, float]]
"""How many faults there were since a time, and for how many seconds."""


@dataclass(eq=False, slots=True)
class Holding:
    """What one process holds.

    Attributes:
        names: of its endpoints.
        registered: it has said that they are. An attempt before that may have been given up, and lapses.
        died: when it was killed, on the meter's clock; None while it lives.
        seen: the members that have told of all its endpoints.
        gone: those that have told of the end of all of them.
    """

    process: asyncio.subprocess.Process
    service: str
    names: frozenset[str]
    registered: bool = False
    died: float | None = None
    seen: set[int] = field(default_factory=set)
    gone: set[int] = field(default_factory=set)


class Endpoints:
    """Holders, one service each, and a watch of each service on each member.

    Args:
        addresses: of the members, for the holders.
        folder: for what the holders log.
        clients: of the members, for the watches.
        rng: chooses.
        meter: counts.
        broken: see Broken.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        folder: Path,
        clients: Clients,
        rng: random.Random,
        meter: Meter,
        broken: Broken,
    ) -> None:
        self._addresses = addresses
        self._log = folder / "holders.log"
        self._clients = clients
        self._rng = rng
        self._meter = meter
        self._broken = broken
        self._holdings: list[Holding] = []
        self._watches = [
            EndpointWatch(member, channel, _service(number), meter, self._look)
            for member, channel in enumerate(clients.channels)
            for number in range(HOLDERS)
        ]
        self._news = asyncio.Event()

    async def prepare(self) -> None:
        """See Load."""
        for number in range(HOLDERS):
            request = CreateServiceRequest(service=Service(name=_service(number)))
            await RegistryServiceStub(self._clients.any()).CreateService(request, timeout=CALL_SECONDS)

    def tasks(self) -> Sequence[Coroutine[Any, Any, None]]:
        """See Load."""
        return [*(watch.run() for watch in self._watches), *(self._hold_on(number) for number in range(HOLDERS))]

    async def finish(self) -> None:
        """See Load."""
        watching = [asyncio.create_task(watch.run()) for watch in self._watches]
        try:
            async with asyncio.timeout(SETTLE_SECONDS):
                while not all(self._agrees(watch) for watch in self._watches):
                    self._news.clear()
                    await self._news.wait()
        except TimeoutError:
            for watch in self._watches:
                if not self._agrees(watch):
                    told = (
                        f"member {watch.member + 1} has {sorted(watch.there or ())}, not {self._living(watch.service)}"
                    )
                    self._meter.findings.violation("stuck", told)
        finally:
            for task in watching:
                task.cancel()
            await asyncio.wait(watching)
        self._meter.findings.counts["endpoints of holders that lived"] = self._count(died=False)
        self._meter.findings.counts["endpoints of holders that were killed"] = self._count(died=True)

    async def close(self) -> None:
        """See Load."""
        for holding in self._holdings:
            if holding.process.returncode is None:
                holding.process.kill()
            await holding.process.wait()

    def _count(self, *, died: bool) -> int:
        return sum(len(holding.names) for holding in self._holdings if (holding.died is not None) == died)

    def _living(self, service: str) -> list[str]:
        return sorted(
            name
            for holding in self._holdings
            if holding.service == service and holding.died is None
            for name in holding.names
        )

    def _agrees(self, watch: EndpointWatch) -> bool:
        return watch.there is not None and sorted(watch.there) == self._living(watch.service)

    async def _hold_on(self, number: int) -> None:
        generation = 0
        while True:
            generation += 1
            holding = await self._begin(number, generation)
            try:
                async with asyncio.timeout(self._rng.uniform(*LIVES) if self._rng.random() < DIES else None):
                    await self._listen(holding)
            except TimeoutError:
                holding.process.kill()
                holding.died = self._meter.monotonic()
                await holding.process.wait()
            else:
                holding.died = self._meter.monotonic()
                self._meter.findings.violation("holder ended", f"{holding.names}, {holding.process.returncode}")

    async def _begin(self, number: int, generation: int) -> Holding:
        """Starts a holder, and returns once it has registered."""
        service = _service(number)
        ids = [f"e{generation}-{each}" for each in range(ENDPOINTS)]
        with self._log.open("ab") as log:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "tests.faults.endpoint_holder", ",".join(self._addresses), str(TTL_SECONDS)),
                *(service, *ids),
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        holding = Holding(process, service, frozenset(f"{service}/endpoints/{each}" for each in ids))
        self._holdings.append(holding)
        assert process.stdout is not None, "it was started with a pipe"
        line = await process.stdout.readline()
        if line:
            holding.registered = True
            self._meter.succeeded("register endpoints")
        return holding

    async def _listen(self, holding: Holding) -> None:
        """Takes what a holder says, until it ends."""
        assert holding.process.stdout is not None, "it was started with a pipe"
        while line := await holding.process.stdout.readline():
            self._meter.findings.violation("given up by the client", line.decode().strip())
        await holding.process.wait()

    def _look(self, watch: EndpointWatch) -> None:
        self._news.set()
        there, now = watch.there or set[str](), self._meter.monotonic()
        for holding in self._holdings:
            if holding.service != watch.service:
                continue
            missing = holding.names - there
            if not missing and holding.registered:
                holding.seen.add(watch.member)
            elif holding.died is None and watch.member in holding.seen:
                told = f"{sorted(missing)} by member {watch.member + 1}"
                self._meter.findings.violation("evicted while its holder lives", told)
                holding.seen.discard(watch.member)
            if holding.died is not None and missing == holding.names and watch.member not in holding.gone:
                holding.gone.add(watch.member)
                self._check_end(watch, holding, now - holding.died)

    def _check_end(self, watch: EndpointWatch, holding: Holding, after: float) -> None:
        """A dead endpoint is gone after a TTL. Each fault may have begun that anew, and stopped it while it lasted."""
        assert holding.died is not None, "it has ended"
        faults, seconds = self._broken(holding.died - TTL_SECONDS)
        allowed = (faults + 1) * (TTL_SECONDS + GRACE_SECONDS) + seconds
        kind = "longest that a dead endpoint was served, ms"
        counts = self._meter.findings.counts
        counts[kind] = max(counts[kind], round(after * 1000))
        if after > allowed:
            told = f"{sorted(holding.names)} by member {watch.member + 1} for {after:.1f} s, with {faults} faults"
            self._meter.findings.violation("served after its end", told)


def _service(number: int) -> str:
    return f"namespaces/default/services/held-{number}"
