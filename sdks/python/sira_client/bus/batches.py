"""Gathers the records of a producer into frames, one open frame a partition."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from random import Random
from zlib import crc32

from sira_client.bus.attributes import Extras
from sira_client.bus.cutting import BatchLimits, cut, whole
from sira_client.bus.outgoing import RECORD_OVERHEAD, OutgoingFrame, Promise


class _Batch:
    """Records of one partition, to which more may come."""

    __slots__ = ("extras", "ids", "keys", "payloads", "promises", "size")

    def __init__(self) -> None:
        self.payloads: list[bytes] = []
        self.keys: list[bytes] = []
        self.ids: list[str] = []
        self.extras: dict[int, Extras] = {}
        self.promises: list[Promise] = []
        self.size = 0

    def frame(self, partition: int) -> OutgoingFrame:
        """A frame of them."""
        return OutgoingFrame(
            partition,
            self.payloads,
            self.keys,
            self.ids,
            extras=self.extras,
            promises=self.promises,
            size=self.size + RECORD_OVERHEAD * len(self.payloads),
            whole=False,
        )


class Batches:
    """Open frames, and the choice of the partition.

    A key decides by its CRC-32 modulo the number of partitions, as in Publish. Records without a key go to one
    partition until its frame is full or sent, and then to the next one.

    Args:
        partitions: how many there are.
        limits: of a frame.
        seal: takes each frame that is complete, in the order in which it is to be sent.
        random: draws the partition to begin with, so that producers spread.
    """

    def __init__(
        self, partitions: int, limits: BatchLimits, seal: Callable[[OutgoingFrame], None], random: Random
    ) -> None:
        self._partitions = partitions
        self._limits = limits
        self._seal = seal
        self._keyless = random.randrange(partitions)
        self._open: dict[int, _Batch] = {}
        self._loop = asyncio.get_running_loop()

    def __bool__(self) -> bool:
        """Whether any frame is open."""
        return bool(self._open)

    def add(self, payload: bytes, key: bytes, record_id: str, extras: Extras | None, size: int) -> Promise:
        """Puts a record of that size into the open frame of its partition."""
        partition = self._partition(key) if key else self._keyless
        batch = self._open.get(partition)
        if batch is not None and batch.size + size > self._limits.bytes:
            self._close(partition)
            partition = partition if key else self._keyless
            batch = self._open.get(partition)
        if batch is None:
            batch = self._open[partition] = _Batch()
        if extras is not None:
            batch.extras[len(batch.payloads)] = extras
        promise: Promise = self._loop.create_future()
        batch.payloads.append(payload)
        batch.keys.append(key)
        batch.ids.append(record_id)
        batch.promises.append(promise)
        batch.size += size
        if len(batch.payloads) >= self._limits.records:
            self._close(partition)
        return promise

    def put(self, frame: OutgoingFrame) -> None:
        """Takes a frame that is complete. What was added for its partition before goes before."""
        self._close(frame.partition)
        self._seal(frame)

    def split(
        self, payloads: Sequence[bytes], keys: Sequence[bytes] | None, ids: Sequence[str] | None
    ) -> Iterator[OutgoingFrame]:
        """Makes complete frames of records, which are to be put here, in their order.

        Those without a key go to one partition frame by frame, if none of them has a key, and else together.
        """
        if keys is None:
            for columns in cut(payloads, None, ids, self._limits):
                yield whole(self._keyless, *columns)
                self._keyless = (self._keyless + 1) % self._partitions
        elif self._partitions == 1:
            for columns in cut(payloads, keys, ids, self._limits):
                yield whole(0, *columns)
        else:
            groups: dict[int, list[int]] = {}
            for index, key in enumerate(keys):
                groups.setdefault(self._partition(key) if key else self._keyless, []).append(index)
            for partition, indexes in groups.items():
                chosen = [payloads[i] for i in indexes], [keys[i] for i in indexes], ids and [ids[i] for i in indexes]
                for columns in cut(*chosen, self._limits):
                    yield whole(partition, *columns)

    def seal_all(self) -> None:
        """Completes every open frame."""
        for partition in list(self._open):
            self._close(partition)

    def _partition(self, key: bytes) -> int:
        return crc32(key) % self._partitions if self._partitions > 1 else 0

    def _close(self, partition: int) -> None:
        batch = self._open.pop(partition, None)
        if batch is not None:
            if partition == self._keyless:
                self._keyless = (partition + 1) % self._partitions
            self._seal(batch.frame(partition))
