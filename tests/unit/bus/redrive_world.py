from __future__ import annotations

import asyncio
from collections.abc import Sequence

from opentelemetry.metrics import NoOpMeterProvider
from sira.bus.v1.dead_letter_pb2 import DeadLetterReason
from sira.bus.v1.dead_letter_service_pb2 import (
    DeadLetterFilter,
    PurgeDeadLettersRequest,
    PurgeDeadLettersResponse,
    RedriveDeadLettersRequest,
    RedriveDeadLettersResponse,
)
from sira.bus.v1.frame_pb2 import Frame
from sira.bus.v1.record_pb2 import Record
from sira_client.frames import checksum, pack

from sira_grpc.bus import names
from sira_grpc.bus.dead_letters import DeadLetters
from sira_grpc.bus.incoming import Incoming, Published
from sira_grpc.bus.metrics import BusMetrics
from sira_grpc.bus.partitions import OpenPartition, Partitions
from sira_grpc.bus.redriving import Redriving
from sira_grpc.bus.stored import Held
from sira_grpc.bus.tenure import Tenure, elsewhere
from sira_grpc.bus.view import SubscriptionEntry, TopicEntry
from tests.unit.bus.control_world import DEFAULT, ControlWorld
from tests.unit.bus.dead_letter_world import (
    TERMINATED,
    TouchyLogs,
    opened,
    record,
)


class RedriveWorld:
    """A subscription with dead letters, and the topics that they came from.

    Attributes:
        published: what was published: topic, partition, ids of the records.
        failures: what the publishing to a place raises.
        publishing: something was to be published; gate: it may be.
    """

    def __init__(self, control: ControlWorld) -> None:
        self.control = control
        self.logs = TouchyLogs(control.store)
        metrics = BusMetrics(NoOpMeterProvider().get_meter("test"))
        self.partitions = Partitions(control.store, control.view, control.config, control.clock, metrics, self._tenure)
        self._tenures: dict[str, Tenure] = {}
        self.redriving = Redriving(control.view, self.publish)
        self.published: list[tuple[str, int | None, list[str]]] = []
        self.failures: dict[tuple[str, int | None], Exception] = {}
        self.publishing = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()
        self.subscription: SubscriptionEntry
        self.letters: DeadLetters

    async def _tenure(self, namespace: str, *, patient: bool = True) -> Tenure:
        return self._tenures.setdefault(namespace, Tenure(namespace))

    async def start(self) -> None:
        await self.control.topic("orders", partitions=2)
        self.subscription = await self.control.subscription("billing", ">")
        self.letters = await opened(self.logs, uid=self.subscription.uid, name=self.subscription.name)

    async def publish(self, topic: str, partition: int | None, incoming: Incoming) -> Published:
        self.publishing.set()
        await self.gate.wait()
        if (topic, partition) in self.failures:
            raise self.failures[topic, partition]
        self.published.append((names.short(topic), partition, list(incoming.frame.ids)))
        place = await self.partitions.get(self.control.view.topic(topic), partition or 0)
        return await place.appender.publish(incoming)

    def topic(self, short: str = "orders") -> TopicEntry:
        return self.control.view.topic(names.topic_name(DEFAULT, short))

    async def place(self, partition: int = 0, topic: str = "orders") -> OpenPartition:
        return await self.partitions.get(self.topic(topic), partition)

    async def held(self, partition: int = 0, topic: str = "orders") -> list[Held]:
        """The frames of a partition."""
        found: list[Held] = []
        place = (await self.place(partition, topic)).partition
        offset = place.first
        while frames := await place.read(offset):
            found += frames
            offset = frames[-1].end
        return found

    async def bury(
        self,
        numbers: Sequence[int],
        *,
        partition: int = 0,
        topic: str = "orders",
        redrives: int = 0,
        reason: DeadLetterReason.ValueType = TERMINATED,
        message: Record | None = None,
    ) -> None:
        """Makes dead letters of records of a partition."""
        log = names.log_of(self.topic(topic).uid, partition)
        some = [
            record(
                n, log=log, topic=topic, partition=partition, redrives=redrives, reason=reason, message=message
            )
            for n in numbers
        ]  # fmt: skip
        await self.letters.append(some)

    async def redrive(
        self,
        *,
        topic: str = "",
        wanted: DeadLetterFilter | None = None,
        limit: int = 0,
        max_redrives: int = 0,
        dry_run: bool = False,
    ) -> RedriveDeadLettersResponse:
        request = RedriveDeadLettersRequest(
            parent=self.subscription.name,
            filter=wanted,
            topic=topic and names.topic_name(DEFAULT, topic),
            limit=limit,
            max_redrives=max_redrives,
            dry_run=dry_run,
        )
        return await self.redriving.redrive(self.subscription, self.letters, request)

    async def purge(
        self, *, wanted: DeadLetterFilter | None = None, limit: int = 0, dry_run: bool = False
    ) -> PurgeDeadLettersResponse:
        request = PurgeDeadLettersRequest(parent=self.subscription.name, filter=wanted, limit=limit, dry_run=dry_run)
        return await self.redriving.purge(self.letters, request)

    async def stop(self) -> None:
        await self.redriving.close()
        await self.letters.close()
        await self.close_partitions()

    async def close_partitions(self) -> None:
        for namespace in self._tenures:
            await self.partitions.let_go(namespace, elsewhere(namespace, "it is over"), orderly=True)


def answer(
    redriven: int = 0, guarded: int = 0, impossible: int = 0, *, more: bool = False
) -> RedriveDeadLettersResponse:
    return RedriveDeadLettersResponse(redriven=redriven, guarded=guarded, impossible=impossible, more=more)


def incoming(*records: Record) -> Incoming:
    data = pack(records)
    return Incoming(data, Frame.FromString(data), checksum(data))


def id_of(n: int) -> str:
    return f"id-{n}"
