"""`sira bus replay`: what a topic holds up to now, printed or published again."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import cells, durations, names
from sira_grpc.cli.bus import positions, running, topics
from sira_grpc.cli.bus.record_printer import RecordPrinter, place
from sira_grpc.cli.bus.spans import Spans
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from sira_client.bus import Ack, Bus, Consumer, Producer, ReadRecord


@connected
def replay(
    session: Session,
    topic: Annotated[str, typer.Argument(help="Name of the topic, such as `orders.eu.created`.")],
    namespace: Namespace = None,
    start: Annotated[
        str, typer.Option("--from", help=f"Where to begin: {positions.HELP}, then in that partition only.")
    ] = "earliest",
    end: Annotated[str, typer.Option("--to", help="Where to end, likewise. `latest` is what is there now.")] = "latest",
    into: Annotated[str | None, typer.Option(metavar="TOPIC", help="Publish the records there instead.")] = None,
    wait: Annotated[
        str,
        typer.Option(help="End when nothing has come for so long: the last records may have expired, or be compacted."),
    ] = "2s",
) -> None:
    """Print the records that a topic holds from one place to another, then end; or publish them to another topic.

    What is published again keeps its key, id, headers, times and whatever else it says of itself, but for its TTL.
    """
    patience = durations.parse(wait, "--wait").total_seconds()
    if not patience:
        raise Failure("--wait: must be above 0", ExitCode.USAGE)
    source = topics.get(session, topic, namespace)
    first, last = positions.parse(start, "--from"), positions.parse(end, "--to")
    spans = Spans(names.own(source.name), source.status.partitions, first, last)
    target = topics.get(session, into, namespace).name if into else ""
    replaying, printer = _Replaying(spans, source.name, patience), RecordPrinter(session.printer)

    async def show(record: ReadRecord) -> None:
        printer.show(record)

    async def work(bus: Bus) -> None:
        if not target:
            await replaying.run(bus, show)
            return
        async with bus.producer(target, timeout=session.timeout) as producer:
            copying = _Copying(producer)
            await replaying.run(bus, copying.take)
            await copying.finish()

    done = not spans.left or running.run(session, source.name.split("/")[1], work)
    say(f"{cells.count(replaying.taken, 'record')} {f'published to {names.own(target)}' if target else 'printed'}")
    if not done:
        raise typer.Exit(ExitCode.INTERRUPTED)
    for missing in spans.missing():
        say(f"{missing} did not come: expired, compacted, damaged, or redriven to a subscription alone")


class _Replaying:
    """Reads what is meant of a topic.

    Args:
        spans: what is meant.
        topic: resource name.
        patience: seconds without a record after which there are no more.

    Attributes:
        taken: records so far.
    """

    def __init__(self, spans: Spans, topic: str, patience: float) -> None:
        self.taken = 0
        self._spans = spans
        self._topic = topic
        self._patience = patience
        self._seen = 0
        self._waiting = True

    async def run(self, bus: Bus, take: Callable[[ReadRecord], Awaitable[None]]) -> None:
        """Has each record taken, in the order of its partition.

        Raises:
            SiraError: the kernel refused, or is not there.
        """
        spans = self._spans
        async with bus.tail(names.own(self._topic), start=spans.tail_start) as records:
            watching = asyncio.create_task(self._end_on_silence(bus, records))
            try:
                async for record in records:
                    self._waiting = False
                    self._seen += 1
                    if spans.take(record.partition, record.offset, record.publish_time):
                        await take(record)
                        self.taken += 1
                    if not spans.left:
                        break
                    self._waiting = True
                else:
                    await watching  # it has ended the iteration: because nothing more comes, or because it failed
            finally:
                watching.cancel()
                await asyncio.gather(watching, return_exceptions=True)

    async def _end_on_silence(self, bus: Bus, records: Consumer[ReadRecord]) -> None:
        """Ends the iteration once nothing has come for a while, of a kernel that answers.

        The last records of a partition may be such that nobody is given them, and a tail does not tell that.
        """
        try:
            silent = False
            while not silent:
                before = self._seen
                await asyncio.sleep(self._patience)
                if self._waiting and self._seen == before:
                    await bus.topics.get(self._topic)
                    silent = self._waiting and self._seen == before
        finally:
            await records.close()


class _Copying:
    """Publishes records again."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._error: BaseException | None = None

    async def take(self, record: ReadRecord) -> None:
        """Has a record published, some time.

        Raises:
            Failure: it breaks a rule of the topic.
            SiraError: one before was refused.
        """
        self._check()
        try:
            promise = await self._producer.post(
                record.payload,
                key=record.key,
                id=record.id,
                headers=record.headers,
                content_type=record.content_type,
                cloud_event=record.cloud_event,
                event_time=record.event_time,
            )
        except ValueError as error:
            raise Failure(f"{place(record)}: {error}") from error
        promise.add_done_callback(self._published)

    async def finish(self) -> None:
        """Waits until all are published.

        Raises:
            SiraError: one was refused.
        """
        await self._producer.flush()
        self._check()

    def _published(self, promise: asyncio.Future[Ack]) -> None:
        if not promise.cancelled():
            self._error = self._error or promise.exception()

    def _check(self) -> None:
        if self._error is not None:
            raise self._error
