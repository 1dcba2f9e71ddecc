"""Prints where records went, each as soon as it is acknowledged."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sira_grpc.cli import cells
from sira_grpc.cli.output import Format, Printer, say

if TYPE_CHECKING:
    from sira_client.bus import Ack


@dataclass(slots=True)
class AckPrinter:
    """Tells where records went, and what they survive.

    Attributes:
        topic: name without its namespace.
        quiet: only their number is told.
        records, duplicates: how many there were.
        durability: what all of them survive.
    """

    topic: str
    printer: Printer
    quiet: bool
    records: int = 0
    duplicates: int = 0
    durability: set[str] = field(default_factory=set)

    def ack(self, ack: Ack) -> None:
        """Tells of one."""
        self.records += 1
        self.duplicates += ack.duplicate
        self.durability.add(ack.durability)
        if self.quiet:
            return
        if self.printer.format is Format.TABLE:
            print("  ".join(self._line(ack)), flush=True)
        else:
            self.printer.next_data(
                {
                    "topic": self.topic,
                    "partition": ack.partition,
                    "offset": str(ack.offset),
                    "durability": f"DURABILITY_{ack.durability.upper()}",
                    "duplicate": ack.duplicate,
                }
            )

    def _line(self, ack: Ack) -> Iterator[str]:
        yield f"{self.topic}/{ack.partition}" + ("" if ack.offset < 0 else f"@{ack.offset}")
        yield ack.durability
        if ack.duplicate:
            yield "duplicate"
        elif ack.offset < 0:
            yield "scheduled"

    def total(self) -> None:
        """Tells how many there were."""
        there = f", {self.duplicates:,} of them were there before" if self.duplicates else ""
        on = f" ({'; '.join(sorted(self.durability))})" if self.durability else ""
        say(f"{cells.count(self.records, 'record')} published to {self.topic}{on}{there}")
