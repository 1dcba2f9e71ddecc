"""Places in topics as people write them: `earliest`, `latest`, a time, `orders/0@17`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from sira_grpc.cli import names
from sira_grpc.cli.bus import moments
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

if TYPE_CHECKING:
    from sira.bus.v1.subscription_pb2 import StartPosition

_OFFSET = re.compile(r"(?:(.+)/)?(\d{1,9})@(\d{1,18})")
HELP = "`earliest`, `latest`, a time such as `2026-01-31T10:00:00Z` or `-10m`, or an offset such as `orders/0@17`"


@dataclass(frozen=True, slots=True)
class Offset:
    """A place in one partition; the topic without its namespace, empty if it was not said."""

    topic: str
    partition: int
    offset: int


Position = Literal["earliest", "latest"] | datetime | Offset


def parse(text: str, option: str, now: datetime | None = None) -> Position:
    """Reads a position.

    Args:
        text: as typed.
        option: what the error names.
        now: what `-10m` counts from; None for the clock of this machine.

    Raises:
        Failure: it cannot be read.
    """
    match text:
        case "earliest":
            return "earliest"
        case "latest":
            return "latest"
    if found := _OFFSET.fullmatch(text):
        return Offset(names.own(found[1] or ""), int(found[2]), int(found[3]))
    try:
        return moments.parse(text, option, now)
    except Failure as failure:
        raise Failure(f"{option}: {text!r} is none of {HELP.replace('`', '')}", ExitCode.USAGE) from failure


def message(position: Position, option: str) -> StartPosition:
    """A position as the kernel takes it.

    Raises:
        Failure: it is an offset of no topic.
    """
    from sira.bus.v1.subscription_pb2 import PartitionOffset, StartPosition

    if position == "earliest":
        return StartPosition(earliest=StartPosition.Earliest())
    if position == "latest":
        return StartPosition(latest=StartPosition.Latest())
    if isinstance(position, Offset):
        if not position.topic:
            where = f"{position.partition}@{position.offset}"
            raise Failure(f"{option}: {where!r} must name the topic too, such as orders/{where}", ExitCode.USAGE)
        place = PartitionOffset(topic=position.topic, partition=position.partition, offset=position.offset)
        return StartPosition(offset=place)
    start = StartPosition()
    start.time.FromDatetime(position)
    return start
