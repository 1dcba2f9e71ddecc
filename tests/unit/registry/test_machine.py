"""The registry against a model of it that fits on a page: whatever is done to it, in whatever order."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Awaitable
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.registry_service_pb2 import HealthReport

from sira_grpc.config import RegistryConfig
from sira_grpc.errors import (
    EndpointHeld,
    EndpointNotFound,
    EtagMismatch,
    LeaseNotFound,
    LeaseNotYours,
    RevisionCompacted,
    ServiceNotFound,
    SiraError,
)
from sira_grpc.registry.tenure import Hold
from tests.clocks import FakeClock
from tests.unit.registry.reader import Reader
from tests.unit.registry.world import NOT_SERVING, SERVICE, SERVING, World, endpoint

T = TypeVar("T")


@dataclass
class ModelLease:
    """A lease as it should be: deadline on the monotonic clock, None while a stream holds it."""

    ttl: int
    deadline: float | None
    suspect: bool = False
    hold: Hold | None = None


@dataclass
class ModelEndpoint:
    """An endpoint as it should be. serving is None where there is no check."""

    lease: str
    port: int
    serving: bool | None
    draining: bool = False


@dataclass
class Model:
    """The registry of one service as it should be."""

    leases: dict[str, ModelLease] = field(default_factory=dict)
    endpoints: dict[str, ModelEndpoint] = field(default_factory=dict)
    gone: list[str] = field(default_factory=list)  # keys of leases

    def end(self, key: str) -> None:
        del self.leases[key]
        self.gone.append(key)
        self.endpoints = {i: e for i, e in self.endpoints.items() if e.lease != key}

    def resolved(self) -> set[str]:
        usable = {i for i, e in self.endpoints.items() if e.serving is not False and not e.draining}
        vouched = {i for i in usable if not self.leases[self.endpoints[i].lease].suspect}
        return vouched or usable


IDS = st.sets(st.sampled_from("abcdef"), min_size=1, max_size=3)
ID = st.sampled_from("abcdef")
PORT = st.integers(80, 82)
PICK = st.integers(0, 7)
NEVER_SILENT = 86_400


def made(id_: str, port: int, *, check: bool) -> Endpoint:
    message = endpoint(id_, port=port, check="ttl" if check else "")
    if check:
        message.health_check.ttl.ttl.FromSeconds(NEVER_SILENT)
    return message


class RegistryMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._runner = asyncio.Runner()
        self._clock = FakeClock()
        # Self-preservation has tests of its own.
        config = RegistryConfig(self_preservation_share=1)
        self._world = World(Path(self._folder.name), self._clock, config)
        self._model = Model()
        self._readers: list[Reader] = []
        self._revision = 0

    def run(self, work: Awaitable[T]) -> T:
        async def settled() -> T:
            try:
                return await work
            finally:
                await self._world.settled()

        return self._runner.run(settled())

    def refused(self, work: Awaitable[object], *errors: type[SiraError]) -> None:
        """Does what must be refused with one of these errors and change nothing."""
        before = self._world.store.revision
        try:
            self.run(work)
        except errors:
            assert self._world.store.revision == before
        else:
            raise AssertionError(f"not refused: {errors}")

    @initialize()
    def start(self) -> None:
        self._runner.run(self._world.start())
        self.run(self._world.service())
        self._readers = [Reader(self._world)]

    def pick(self, number: int) -> str | None:
        """The key of a lease, there or gone; None if there never was one."""
        keys = [*self._model.leases, *self._model.gone[-2:]]
        return keys[number % len(keys)] if keys else None

    def register(self, key: str, ids: set[str], port: int, *, check: bool, ttl: int) -> None:
        registry, model = self._world.registry, self._model
        messages = [made(i, port, check=check) for i in sorted(ids)]
        if key:
            command = registry.registrar.register(messages, lease_key=key, allow_missing_service=False, actor="")
        else:
            command = registry.registrar.register_under_new_lease(
                messages, ttl=ttl, allow_missing_service=False, actor=""
            )
        if key and key not in model.leases:
            self.refused(command, LeaseNotFound)
            return
        there = {i: model.endpoints[i] for i in ids if i in model.endpoints}
        if any(e.lease != key and not model.leases[e.lease].suspect for e in there.values()):
            self.refused(command, EndpointHeld)
            return
        self._clock.advance(0.001)  # no two registrations of a name at one time
        done = self.run(command)
        if not key:
            key = done.lease_key
            model.leases[key] = ModelLease(ttl, self._clock.monotonic() + ttl)
        for i in ids:
            old = there.get(i)
            serving = (
                (old.serving if old and old.lease == key and old.serving is not None else False) if check else None
            )
            draining = old is not None and old.lease == key and old.draining
            model.endpoints[i] = ModelEndpoint(key, port, serving, draining)

    @rule(ids=IDS, port=PORT, check=st.booleans(), ttl=st.integers(2, 20))
    def register_under_a_new_lease(self, ids: set[str], port: int, check: bool, ttl: int) -> None:
        self.register("", ids, port, check=check, ttl=ttl)

    @precondition(lambda self: self._model.leases or self._model.gone)
    @rule(number=PICK, ids=IDS, port=PORT, check=st.booleans())
    def register_under_a_lease(self, number: int, ids: set[str], port: int, check: bool) -> None:
        key = self.pick(number)
        assert key is not None
        old = [e for i, e in self._model.endpoints.items() if i in ids]
        if any((e.serving is None) == check for e in old):  # a check that comes and goes has a test of its own
            return
        self.register(key, ids, port, check=check, ttl=0)

    @precondition(lambda self: self._model.leases or self._model.gone)
    @rule(number=PICK, ids=IDS)
    def deregister(self, number: int, ids: set[str]) -> None:
        key = self.pick(number)
        assert key is not None
        names = [f"{SERVICE}/endpoints/{i}" for i in sorted(ids)]
        command = self._world.registry.registrar.deregister(names, lease_key=key, actor="")
        there = [self._model.endpoints.get(i) for i in ids]
        if key not in self._model.leases:
            self.refused(command, LeaseNotFound)
        elif any(e is None or e.lease != key for e in there):
            self.refused(command, EndpointNotFound, LeaseNotYours)
        else:
            self.run(command)
            for i in ids:
                del self._model.endpoints[i]

    @rule(id_=ID, port=PORT, stale=st.booleans())
    def update(self, id_: str, port: int, stale: bool) -> None:
        given = Endpoint(name=f"{SERVICE}/endpoints/{id_}", port=port, etag="1" if stale else "")
        command = self._world.registry.registrar.update(given, FieldMask(paths=["port"]), actor="")
        if id_ not in self._model.endpoints:
            self.refused(command, EndpointNotFound)
        elif stale:
            self.refused(command, EtagMismatch)
        else:
            assert self.run(command).message.port == port
            self._model.endpoints[id_].port = port

    @rule(id_=ID)
    def delete(self, id_: str) -> None:
        command = self._world.registry.registrar.delete(f"{SERVICE}/endpoints/{id_}", etag="", actor="")
        if id_ in self._model.endpoints:
            self.run(command)
            del self._model.endpoints[id_]
        else:
            self.refused(command, EndpointNotFound)

    @precondition(lambda self: self._model.leases or self._model.gone)
    @rule(number=PICK)
    def revoke(self, number: int) -> None:
        key = self.pick(number)
        assert key is not None
        command = self.keep(key)
        if key in self._model.leases:
            self.run(command)
            self._model.end(key)
        else:
            self.refused(command, LeaseNotFound)

    async def keep(self, key: str) -> None:
        await self._world.registry.keeper.revoke(key, "", actor="")

    @precondition(lambda self: self._model.leases)
    @rule(number=PICK)
    def attach(self, number: int) -> None:
        key = list(self._model.leases)[number % len(self._model.leases)]

        async def attach() -> Hold:
            return await self._world.registry.keeper.attach(key, actor="")

        lease = self._model.leases[key]
        older = lease.hold
        lease.hold, lease.deadline, lease.suspect = self.run(attach()), None, False
        assert older is None or older.ended.done()

    @precondition(lambda self: any(lease.hold for lease in self._model.leases.values()))
    @rule(number=PICK)
    def lose(self, number: int) -> None:
        held = [lease for lease in self._model.leases.values() if lease.hold]
        lease = held[number % len(held)]
        hold = lease.hold
        assert hold is not None

        async def lose() -> None:
            self._world.registry.keeper.lost(hold, actor="")

        self.run(lose())
        lease.hold, lease.deadline, lease.suspect = None, self._clock.monotonic() + lease.ttl, True

    @precondition(lambda self: self._model.leases or self._model.gone)
    @rule(numbers=st.lists(PICK, max_size=4))
    def renew(self, numbers: list[int]) -> None:
        keys = [key for key in map(self.pick, numbers) if key is not None]

        lost = self.run(self._world.registry.keeper.renew(keys))
        assert lost == [i for i, key in enumerate(keys) if key not in self._model.leases]
        for lease in (self._model.leases[key] for key in keys if key in self._model.leases):
            if lease.hold is None:
                lease.deadline, lease.suspect = self._clock.monotonic() + lease.ttl, False

    @rule(id_=ID, well=st.booleans())
    def report_health(self, id_: str, well: bool) -> None:
        there = self._model.endpoints.get(id_)
        if there is None or there.serving is None:
            return

        async def report() -> None:
            state = SERVING if well else NOT_SERVING
            reports = [HealthReport(name=f"{SERVICE}/endpoints/{id_}", state=state)]
            self._world.registry.health_reports.report(there.lease, reports)

        self.run(report())
        there.serving = well

    @rule(id_=ID, back=st.booleans())
    def drain(self, id_: str, back: bool) -> None:
        name = f"{SERVICE}/endpoints/{id_}"
        drainer = self._world.registry.drainer
        command: Awaitable[object] = (
            drainer.cancel([name], actor="")
            if back
            else drainer.drain([name], locality=None, patience=0, cause="", actor="")
        )
        if id_ in self._model.endpoints:
            self.run(command)
            self._model.endpoints[id_].draining = not back
        else:
            self.refused(command, EndpointNotFound)

    @rule(seconds=st.integers(1, 12))
    def time_passes(self, seconds: int) -> None:
        self.run(self._world.sweep(after=seconds))
        now = self._clock.monotonic()
        for key, lease in list(self._model.leases.items()):
            if lease.deadline is not None and lease.deadline <= now:
                self._model.end(key)

    @rule()
    def restart(self) -> None:
        for reader in self._readers:
            self._runner.run(reader.close())
        self._runner.run(self._world.restart())
        for lease in self._model.leases.values():
            lease.hold, lease.deadline = None, self._clock.monotonic() + lease.ttl
        self._readers = [self.resumed(reader) for reader in self._readers]

    def resumed(self, reader: Reader) -> Reader:
        try:
            again = Reader(self._world, start=reader.revision)
        except RevisionCompacted:
            return Reader(self._world)
        again.service, again.endpoints = reader.service, dict(reader.endpoints)
        return again

    @precondition(lambda self: len(self._readers) < 3)
    @rule()
    def another_reader(self) -> None:
        self._readers.append(Reader(self._world))

    @rule(number=st.integers(0, 2))
    def read(self, number: int) -> None:
        self.run(self.caught_up(self._readers[number % len(self._readers)]))

    async def caught_up(self, reader: Reader) -> None:
        await reader.catch_up(self._world)
        assert reader.sees(self._world)

    @rule()
    def delete_the_service(self) -> None:
        async def delete() -> None:
            await self._world.registry.catalog.delete_service(SERVICE, etag="", force=True, actor="")
            for reader in self._readers:
                try:
                    while True:
                        await reader.read()
                except ServiceNotFound:
                    await reader.close()
            await self._world.service()

        self.run(delete())
        self._readers = [Reader(self._world)]
        self._model.endpoints = {}

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        if not self._readers:
            return  # not yet started
        world, model = self._world, self._model
        assert world.registered() == set(model.endpoints)
        assert {i: e.port for i, e in model.endpoints.items()} == {
            name.rpartition("/")[2]: e.message.port
            for name, e in world.registry.view.services[SERVICE].endpoints.items()
        }
        assert {key.partition(".")[0] for key in model.leases} == set(world.registry.view.leases)
        assert world.registry.view.suspects == {k.partition(".")[0] for k, e in model.leases.items() if e.suspect}
        assert world.resolved() == model.resolved()
        assert not world.registry.view.orphans

    @invariant()
    def the_revision_never_goes_back(self) -> None:
        if self._readers:
            assert self._world.registry.view.revision == self._world.store.revision >= self._revision
            self._revision = self._world.store.revision

    def teardown(self) -> None:
        if self._readers:
            for reader in self._readers:
                self._runner.run(self.caught_up(reader))
                self._runner.run(reader.close())
            self._runner.run(self._world.stop())
        self._runner.close()
        self._folder.cleanup()


TestRegistry = RegistryMachine.TestCase
TestRegistry.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
