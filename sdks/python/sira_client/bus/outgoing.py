"""A frame on its way to the kernel, from its first record to its answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping, Sequence
from itertools import repeat

from sira.bus.v1.frame_pb2 import Compression
from sira.bus.v1.record_pb2 import Attributes

from sira_client.bus.ack import Ack
from sira_client.bus.attributes import Extras
from sira_client.bus.durability import Durability
from sira_client.errors import SiraError
from sira_client.frames import pack_columns

RECORD_OVERHEAD = 64
"""Bytes that a record counts beyond its own: what the client keeps for it."""

_NONE = Attributes()

Promise = asyncio.Future[Ack]


class OutgoingFrame:
    """Records of one partition that are sent together.

    Attributes:
        partition: number of the partition.
        payloads, keys, ids: one of each for each record.
        extras: what some of them have beyond, by index.
        promises: one for each record; or one for all of them, if it is `whole`.
        size: bytes that it takes of the producer's buffer.
        producer_id, sequence: what it is sent with. The sequence is 0 until it is given one.
    """

    def __init__(
        self,
        partition: int,
        payloads: Sequence[bytes],
        keys: Sequence[bytes],
        ids: Sequence[str],
        *,
        extras: Mapping[int, Extras],
        promises: Sequence[Promise],
        size: int,
        whole: bool,
    ) -> None:
        self.partition = partition
        self.payloads = payloads
        self.keys = keys
        self.ids = ids
        self.extras = extras
        self.promises = promises
        self.size = size
        self.whole = whole
        self.producer_id = ""
        self.sequence = 0
        self._data = b""
        self._followers: list[asyncio.Future[None]] = []

    @property
    def count(self) -> int:
        """How many records it has."""
        return len(self.payloads)

    def encode(self, compression: Compression.ValueType) -> bytes:
        """The serialized frame. It is the same each time, so that what is sent again is what was sent before."""
        if not self._data:
            self._data = pack_columns(
                self.payloads,
                keys=self.keys if any(self.keys) else None,
                ids=self.ids if any(self.ids) else None,
                event_times_ns=self._column([e.event_time_ns for e in self.extras.values()]),
                ttls_ms=self._column([e.ttl_ms for e in self.extras.values()]),
                deliver_at_ns=self._column([e.deliver_at_ns for e in self.extras.values()]),
                attributes=self._attributes(),
                compression=compression,
            )
        return self._data

    def _column(self, values: Sequence[int]) -> list[int] | None:
        """One entry for each record, given those of the records with extras."""
        if not any(values):
            return None
        by_index = dict(zip(self.extras, values, strict=True))
        return [by_index.get(index, 0) for index in range(self.count)]

    def _attributes(self) -> Attributes | list[Attributes] | None:
        given = {index: extra.attributes for index, extra in self.extras.items() if extra.attributes is not None}
        if not given:
            return None
        first = next(iter(given.values()))
        if len(given) == self.count and all(one is first or one == first for one in given.values()):
            return first
        return [given.get(index, _NONE) for index in range(self.count)]

    def acknowledge(self, offset: int, stored: int, durability: Durability, *, duplicate: bool) -> None:
        """Keeps the promises.

        Args:
            offset: of the first record; -1 if it has none.
            stored: how many records there are from it on. If some were left out, because their ids were there, it is
                not known which.
            durability: what they survive.
            duplicate: all of them were there already.
        """
        if self.whole:
            self._keep(self.promises, [Ack(self.partition, offset, durability, duplicate, self.count)])
        elif offset < 0 or stored != self.count > 1:
            self._keep(self.promises, repeat(Ack(self.partition, -1, durability, duplicate)))
        else:
            offsets = range(offset, offset + self.count)
            self._keep(self.promises, (Ack(self.partition, each, durability, duplicate) for each in offsets))
        self._finish()

    def fail(self, error: SiraError) -> None:
        """Breaks the promises."""
        for promise in self.promises:
            if not promise.done():
                promise.set_exception(error)
        self._finish()

    def finished(self) -> asyncio.Future[None]:
        """Done once it is answered, whatever the answer."""
        follower: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._followers.append(follower)
        return follower

    @staticmethod
    def _keep(promises: Sequence[Promise], acks: Iterable[Ack]) -> None:
        for promise, ack in zip(promises, acks, strict=False):
            if not promise.done():
                promise.set_result(ack)

    def _finish(self) -> None:
        for follower in self._followers:
            if not follower.done():
                follower.set_result(None)
