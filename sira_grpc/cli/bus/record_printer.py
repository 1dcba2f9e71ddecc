"""Prints records, each as soon as it comes."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sira_grpc.cli.bus import payloads
from sira_grpc.cli.output import Format, Printer, plain

if TYPE_CHECKING:
    from sira_client.bus import ReadRecord


class RecordPrinter:
    """Prints records in lines for people, or as one JSON object or YAML document each.

    Args:
        printer: says in which format.
    """

    def __init__(self, printer: Printer) -> None:
        self._printer = printer

    def show(self, record: ReadRecord) -> None:
        """Prints a record."""
        if self._printer.format is Format.TABLE:
            sys.stdout.write("\n".join([*lines(record), ""]))
            sys.stdout.flush()
        else:
            self._printer.next_data(data(record))


def lines(record: ReadRecord) -> Iterator[str]:
    """A record for people: where it is and what it says of itself, then its payload, indented."""
    yield "  ".join([place(record), moment(record.publish_time), *_said(record)])
    try:
        payload = record.payload
    except ValueError as error:
        yield f"  {error}"
        return
    for line in payloads.lines(payload):
        yield f"  {line}"


def data(record: ReadRecord) -> dict[str, Any]:
    """A record for programs: its place, and the message in the protobuf JSON mapping.

    With `text`, if the payload is some, or with `error`, if it cannot be decompressed.
    """
    from sira.bus.v1.record_pb2 import Record

    shown = {
        "topic": record.topic,
        "partition": record.partition,
        "offset": str(record.offset),
        "attempt": record.attempt,
        "publishTime": record.publish_time.isoformat().replace("+00:00", "Z"),
    }
    made = Record(id=record.id, key=record.key, attributes=record.attributes)
    made.event_time.FromDatetime(record.event_time)
    try:
        made.payload = record.payload
        shown["text"] = made.payload.decode()
    except UnicodeDecodeError:
        pass  # no text
    except ValueError as error:
        shown["error"] = str(error)
    return {**shown, "record": plain(made)}


def place(record: ReadRecord) -> str:
    """Where a record is: `orders/0@17`."""
    return f"{record.topic}/{record.partition}@{record.offset}"


def moment(time: datetime) -> str:
    """A time in UTC, to the millisecond."""
    return f"{time.isoformat(timespec='milliseconds').replace('+00:00', 'Z')}"


def _said(record: ReadRecord) -> Iterator[str]:
    if record.attempt > 1:
        yield f"delivery {record.attempt}"
    if record.key:
        yield f"key={payloads.brief(record.key)}"
    if record.id:
        yield f"id={payloads.word(record.id)}"
    if record.content_type:
        yield payloads.word(record.content_type)
    for name, value in sorted(record.headers.items()):
        yield f"{payloads.word(name)}={payloads.word(value)}"
