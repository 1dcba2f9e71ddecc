"""What a producer is answered."""

from __future__ import annotations

from typing import NamedTuple

from sira_client.bus.durability import Durability


class Ack(NamedTuple):
    """Records are taken.

    Attributes:
        partition: number of the partition.
        offset: of the first of the records. -1 where it is not known: for records that are not to be delivered yet,
            which get their offsets when their times have come, and where some of those that were sent together were
            there already.
        durability: what they survive.
        duplicate: they were there already: sent before with the same ids, or once more after a lost connection.
        records: how many they are: 1, or those of a frame.
    """

    partition: int
    offset: int
    durability: Durability
    duplicate: bool
    records: int = 1
