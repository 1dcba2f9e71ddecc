"""Places in topics: where a subscription or a tail begins."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from sira.bus.v1.subscription_pb2 import PartitionOffset, StartPosition

from sira_client.bus.times import timestamp

Position = Literal["earliest", "latest"] | datetime | PartitionOffset
"""The first record that is kept; after the last one; the first one published at that time or later; an offset of one
partition."""


def start_position(start: Position) -> StartPosition:
    """The position as a message.

    Raises:
        ValueError: it is none, or a time without a time zone.
    """
    if isinstance(start, datetime):
        return StartPosition(time=timestamp("start", start))
    if isinstance(start, PartitionOffset):
        return StartPosition(offset=start)
    if start == "earliest":
        return StartPosition(earliest=StartPosition.Earliest())
    if start == "latest":
        return StartPosition(latest=StartPosition.Latest())
    raise ValueError(f"start: {start!r} is no position: 'earliest', 'latest', a datetime or a PartitionOffset")
