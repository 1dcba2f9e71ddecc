"""The dead letters of a subscription: those that were given up, and neither redriven nor purged."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass

from sira.bus.internal.v1.settlement_record_pb2 import DeadLetterRecord
from sira.bus.v1.dead_letter_pb2 import DeadLetter
from sira.bus.v1.dead_letter_service_pb2 import DeadLetterFilter

from sira_grpc.bus import names
from sira_grpc.bus.dead_letter_filter import Choice
from sira_grpc.bus.dead_letter_index import DeadLetterIndex
from sira_grpc.bus.dead_letter_log import DeadLetterLog, StoredDeadLetter
from sira_grpc.bus.span_log import SpanLog
from sira_grpc.errors import DeadLetterNotFound, InvalidPageToken, SiraError, StoreCorrupt, StoreUnavailable
from sira_grpc.pages import decode_token, encode_token, page_size
from sira_grpc.store.api import LogStore

PAGE_LETTERS = 5_000
PAGE_READ_BYTES = 32 << 20
"""What is looked at for one page, about."""
PAGE_BYTES = 1 << 20
"""Size of a page, about: gRPC clients take 4 MiB unless they ask for more."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Scanned:
    """A step of a scan.

    Attributes:
        chosen: the dead letters that were found, with what can be read of them; None for one that is damaged.
        count, size: how many were looked at, and the bytes that were read for it.
        next: the id to go on from.
    """

    chosen: Sequence[tuple[StoredDeadLetter, DeadLetter | None]]
    count: int
    size: int
    next: int


class DeadLetters:
    """Takes dead letters, finds them and removes them.

    Args:
        logs: where their logs are.
        uid: of the subscription.
        name: of the subscription.

    Attributes:
        settled_through: dead letters up to before this id need not be kept once they are removed: every partition has
            noted that their records are settled. To be raised by the owner, who then calls trim().
        moving: held by whoever redrives or purges: one at a time.
        closing: nobody may begin to move any more.
    """

    def __init__(self, logs: LogStore, uid: str, name: str) -> None:
        self.settled_through = 0
        self.moving = asyncio.Lock()
        self.closing = False
        self._name = name
        self._log = DeadLetterLog(logs, names.dead_of(uid))
        self._removals = SpanLog(logs, names.dead_removed_of(uid))
        self._index: DeadLetterIndex
        self._closed = False

    async def open(self, *, fence: bool = False) -> None:
        """Learns what there is. To be called once, before anything else.

        Where a note of a removal is damaged, what was removed is back.

        Args:
            fence: another member may have had them until now, and must neither add nor remove any from here on.

        Raises:
            NotOwner: another member was faster.
            StoreUnavailable: it cannot be read, or fenced, now.
        """
        await self._log.open()
        self._index = DeadLetterIndex(self._log)
        await self._removals.load()
        if fence:
            await self._fence()

    async def _fence(self) -> None:
        """Appends what is no dead letter and removes it at once: one record to each log, which nobody ever sees.

        One that was appended by a member that did not come to remove it is removed too.
        """
        number = await self._log.append([DeadLetterRecord()])
        fences = [number]
        while (number := number - 1) >= self._log.first and number not in self._removals.spans:
            found = await self._log.read(number, number + 1)
            if not (found and found[0].fence):
                break
            fences.append(number)
        await self._removals.add(_spans(fences))

    @property
    def count(self) -> int:
        """How many there are, those that are damaged included."""
        first, end = self._log.first, self._log.next
        return end - first - self._removals.spans.count(first, end)

    @property
    def next(self) -> int:
        """The id that the next one gets."""
        return self._log.next

    @property
    def damaged(self) -> int:
        """How many were found since it was opened that cannot be read."""
        return self._log.damaged

    async def append(self, records: Sequence[DeadLetterRecord]) -> int:
        """Takes dead letters, and returns the id of the first once all are durable; the others follow.

        All are taken or none, up to 1,000 of at most 8 MiB; of more, some may be when it fails. It is done even if the
        caller is cancelled meanwhile.

        Raises:
            StoreUnavailable: they were not taken.
        """
        self._check_open()
        return await self._log.append(records)

    async def buried(self, partition_log: str, since: int) -> list[tuple[int, int]]:
        """Returns id and offset of the dead letters of a partition, by its log, from an id on, removed ones included.

        What was trimmed is not among them, nor what is damaged: the records of the latter are delivered again.
        """
        return await self._index.of(partition_log, since)

    async def get(self, dead: int) -> DeadLetter:
        """Returns one by its id.

        Raises:
            DeadLetterNotFound.
            StoreCorrupt: it is damaged.
        """
        name = f"{self._name}/deadLetters/{dead}"
        found = await self._log.read(dead, dead + 1) if self._has(dead) else []
        if not found or not self._has(dead):
            raise DeadLetterNotFound(f"{name} is not there", metadata={"resource": name})
        letter = found[0].letter(self._name)
        if letter is None:
            raise StoreCorrupt(f"{name} is damaged; it can only be purged", metadata={"resource": name})
        return letter

    def _has(self, dead: int) -> bool:
        return self._log.first <= dead < self._log.next and dead not in self._removals.spans

    async def list(self, wanted: DeadLetterFilter, *, size: int, token: str) -> tuple[list[DeadLetter], str]:
        """Lists those that a filter chooses, the oldest first, without payloads, and the token of the next page.

        A page holds fewer than were asked for where they are large, or rare. Damaged ones are left out.

        Raises:
            InvalidPageToken.
        """
        query = f"{self._name} {wanted.SerializeToString(deterministic=True).hex()}"
        since = _id_in(decode_token(token, query))
        page: list[DeadLetter] = []
        looked_at = read = page_bytes = 0
        async with aclosing(self.scan(wanted, since=since)) as steps:
            async for step in steps:
                for found, letter in step.chosen:
                    if letter is None:
                        continue
                    if len(page) == page_size(size) or page_bytes > PAGE_BYTES:
                        return page, encode_token(str(found.id), query)
                    letter.record.ClearField("payload")
                    page.append(letter)
                    page_bytes += letter.ByteSize()
                looked_at += step.count
                read += step.size
                if looked_at >= PAGE_LETTERS or read >= PAGE_READ_BYTES:
                    return page, encode_token(str(step.next), query)
        return page, ""

    async def scan(self, wanted: DeadLetterFilter, *, since: int = 0) -> AsyncGenerator[Scanned, None]:
        """Looks for those that a filter chooses, from an id on, step by step, among those that are there now.

        Removing them meanwhile does no harm.
        """
        choice = Choice(wanted)
        position, end = since, self._log.next
        while (span := self._wanted(choice, max(position, self._log.first), end)) is not None:
            found = await self._log.read(*span)
            position = found[-1].id + 1 if found else span[1]
            chosen = [(stored, stored.letter(self._name)) for stored in found if self._has(stored.id)]
            yield Scanned(
                [(stored, letter) for stored, letter in chosen if _chosen(choice, letter)],
                len(found),
                sum(stored.size for stored in found),
                position,
            )

    def _wanted(self, choice: Choice, first: int, end: int) -> tuple[int, int] | None:
        """Returns the first ids in a range that have to be looked at; None if there are none."""
        for low, high in choice.spans(first, end):
            for span in self._removals.spans.missing(low, high):
                return span
        return None

    async def remove(self, ids: Iterable[int]) -> None:
        """Removes dead letters, durably. It is done even if the caller is cancelled meanwhile.

        Raises:
            StoreUnavailable: they are still there.
        """
        self._check_open()
        await self._removals.add(_spans(ids))
        await self.trim()

    async def trim(self) -> None:
        """Gives back the space of the oldest ones that were removed, as far as settled_through."""
        first, end = self._log.first, min(self.settled_through, self._log.next)
        live = next(self._removals.spans.missing(first, end), None)
        before = live[0] if live is not None else end
        if before <= first:
            return
        try:
            await self._log.trim(before)
        except SiraError as error:
            log.warning("%s: removed dead letters still take space: %s", self._name, error)
            return
        self._index.forget(before)

    def _check_open(self) -> None:
        if self._closed:
            raise StoreUnavailable(f"the dead letters of {self._name} are being closed", retry_after=1.0)

    async def close(self) -> None:
        """Finishes what is under way. Afterwards nothing is written any more."""
        self.closing = True
        async with self.moving:
            self._closed = True
            await self._log.idle()
            await self._removals.close()


def _chosen(choice: Choice, letter: DeadLetter | None) -> bool:
    return choice.any_content if letter is None else choice.takes(letter)


def _id_in(after: str) -> int:
    if not after:
        return 0
    if not (after.isascii() and after.isdigit()):
        raise InvalidPageToken("page_token: not a next_page_token of an earlier page")
    return int(after)


def _spans(ids: Iterable[int]) -> list[tuple[int, int]]:
    """Returns numbers as ranges, in order."""
    spans: list[tuple[int, int]] = []
    for number in sorted(set(ids)):
        if spans and spans[-1][1] == number:
            spans[-1] = (spans[-1][0], number + 1)
        else:
            spans.append((number, number + 1))
    return spans
