"""What was sent to a topic and what came of it, record by record: the side that knows better than the kernel."""

from __future__ import annotations

import zlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

UNKNOWN = -1
"""In place of an offset."""


@dataclass(slots=True, eq=False)
class Sent:
    """A record that was sent.

    Attributes:
        name: tells it from all others; its payload begins with it.
        key: of it. The keys of one producer are no other's.
        partition: that it went to.
        place: which of its key's records it is, from 0.
        before: the record of its key before it.
        acknowledged: the kernel has answered that it is stored.
        offset: that it got, once that is known.
        deliver_at_ns: not to be delivered before, Unix nanoseconds; 0 for at once.
    """

    name: str
    key: bytes
    partition: int
    place: int
    before: Sent | None
    acknowledged: bool = False
    offset: int = UNKNOWN
    deliver_at_ns: int = 0

    @property
    def payload(self) -> bytes:
        """What it carries: as many bytes as its name says, to be recognized."""
        return payload_of(self.name)


def payload_of(name: str) -> bytes:
    """Returns the payload of a record, by its name."""
    data = name.encode()
    return data + b"/" + b"." * (zlib.crc32(data) % 300)


def name_in(payload: bytes) -> str:
    """Returns the name of a record, by its payload."""
    name = payload.decode().rpartition("/")[0]
    assert payload == payload_of(name), f"a payload was changed: {payload!r}"
    return name


@dataclass(frozen=True, slots=True)
class Logged:
    """A record as a partition holds it."""

    name: str
    key: bytes
    offset: int
    publish_ns: int


@dataclass
class Findings:
    """What was counted, and what must not be."""

    counts: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)

    def violation(self, kind: str, text: str) -> None:
        """Notes what must not be."""
        self.counts[kind] += 1
        self.violations.append(f"{kind}: {text}")

    def check(self) -> None:
        """Fails if there was anything that must not be."""
        told = "\n".join(self.violations[:20])
        assert not self.violations, f"{len(self.violations)} violations, {dict(self.counts)}:\n{told}"


class Ledger:
    """All records that were sent to a topic.

    Args:
        topic: its short name.
        findings: takes what is wrong.
        in_order: whether what one producer sends to a partition is there in the order of sending. It is not where some
            is to be delivered later.
    """

    def __init__(self, topic: str, findings: Findings, *, in_order: bool = True) -> None:
        self.topic = topic
        self.findings = findings
        self._in_order = in_order
        self.records: dict[str, Sent] = {}
        self._by_producer: dict[tuple[str, int], list[Sent]] = defaultdict(list)
        self._last: dict[bytes, Sent] = {}

    def send(self, producer: str, partition: int, key: bytes, *, deliver_at_ns: int = 0) -> Sent:
        """Notes a record that is about to be sent."""
        sent = self._by_producer[producer, partition]
        before = self._last.get(key) if key else None
        place = before.place + 1 if before is not None else 0
        name = f"{producer}/{partition}/{len(sent)}"
        record = Sent(name, key, partition, place, before, deliver_at_ns=deliver_at_ns)
        sent.append(record)
        self._last[key] = self.records[name] = record
        return record

    def last(self, key: bytes) -> Sent | None:
        """Returns the record of a key that was sent last; None if there is none."""
        return self._last.get(key)

    def acknowledged(self, records: Sequence[Sent], offset: int) -> None:
        """Notes that records are stored, where the kernel says so."""
        for place, record in enumerate(records):
            if not record.acknowledged:
                record.acknowledged = True
                self.findings.counts["acknowledged"] += 1
            if offset != UNKNOWN:
                self.located(record, record.partition, offset + place)

    def located(self, record: Sent, partition: int, offset: int) -> None:
        """Notes where a record is, which must be where it was before."""
        if record.partition != partition or record.offset not in (UNKNOWN, offset):
            place = f"{partition}/{offset}"
            self.findings.violation("moved", f"{record.name} is at {place}, not at {record.partition}/{record.offset}")
        record.offset = offset

    def check_log(self, partition: int, log: Iterable[Logged]) -> None:
        """Compares a partition, read from its beginning to its end, with what was sent to it.

        Every record that was acknowledged is there, each once, as it was sent, and where it was said to be; those of
        one producer are in the order in which they were sent.
        """
        place: Counter[str] = Counter()
        found = set[str]()
        for logged in log:
            record = self.records.get(logged.name)
            if record is None or record.key != logged.key:
                self.findings.violation("changed", f"{logged.name}, {logged.key!r} was never sent")
                continue
            if logged.name in found:
                self.findings.violation("duplicated", f"{logged.name}, again at {partition}/{logged.offset}")
                continue
            found.add(logged.name)
            self.located(record, partition, logged.offset)
            if logged.publish_ns < record.deliver_at_ns:
                self.findings.violation("early", f"{logged.name} is in the log before its time")
            producer, _, number = logged.name.rpartition("/")
            if self._in_order and int(number) < place[producer]:
                self.findings.violation("reordered", f"{logged.name} comes after {place[producer]} of its producer")
            place[producer] = int(number)
        for (_, where), sent in self._by_producer.items():
            for record in sent if where == partition else ():
                if record.acknowledged and record.name not in found:
                    self.findings.violation("lost", f"{record.name} is not in the log")


class Account:
    """What a subscription has done with the records of a ledger.

    Args:
        name: of the subscription.
        ledger: of the topic that it reads.
        ordered: whether records of one key have to be processed in their order.
    """

    def __init__(self, name: str, ledger: Ledger, *, ordered: bool = False) -> None:
        self.name = name
        self.ordered = ordered
        self.ledger = ledger
        self.findings = ledger.findings
        self._acks: Counter[str] = Counter()
        self._deliveries: Counter[str] = Counter()
        # By record and offset, as one may come back elsewhere: the life in which the kernel confirmed that it is done.
        self._confirmed: dict[tuple[str, int], int] = {}
        # By key: the last record that is, and the life.
        self._confirmed_of_key: dict[bytes, tuple[int, int]] = {}

    @property
    def backlog(self) -> int:
        """Records that were sent and never acknowledged by a consumer."""
        return len(self.ledger.records) - len(self._acks)

    def done(self, record: Sent) -> bool:
        """Whether a consumer has said, at least once, that a record is done with."""
        return self._acks[record.name] > 0

    def delivered(self, record: Sent, offset: int, life: int) -> bool:
        """Notes a delivery. Returns whether it may only be what was on its way while somebody else had the record.

        Such a record must turn out to be no more with the consumer that has it.
        """
        self._deliveries[record.name] += 1
        if self._deliveries[record.name] > 1:
            self.findings.counts["redelivered"] += 1
        confirmed = self._confirmed.get((record.name, offset))
        if self.ordered:
            self._check_before(record)
            later, since = self._confirmed_of_key.get(record.key, (UNKNOWN, life))
            if later > record.place:
                confirmed = since if confirmed is None else min(confirmed, since)
        if confirmed is None:
            return False
        if confirmed < life:
            self.findings.violation("delivered after it was settled", f"{record.name} to {self.name}")
            return False
        return True

    def _check_before(self, record: Sent) -> None:
        before = record.before
        if before is not None and not self.done(before):
            self.findings.violation("reordered", f"{record.name} was delivered to {self.name} before {before.name}")

    def acked(self, record: Sent) -> None:
        """Notes that a consumer is done with a record, whether the kernel knows of it or not."""
        self._acks[record.name] += 1

    def confirmed(self, record: Sent, offset: int, life: int, *, suspect: bool = False) -> None:
        """Notes that the kernel has confirmed that it is done with.

        Args:
            suspect: it had to turn out not to be with the consumer any more.
        """
        if suspect:
            self.findings.violation("delivered after it was settled", f"{record.name} to {self.name}, in the same life")
        self._confirmed.setdefault((record.name, offset), life)
        if record.key and record.place >= self._confirmed_of_key.get(record.key, (UNKNOWN, 0))[0]:
            self._confirmed_of_key[record.key] = record.place, life

    def is_confirmed(self, record: Sent) -> bool:
        """Whether the kernel has."""
        return (record.name, record.offset) in self._confirmed

    def check(self) -> None:
        """At the end: every record that was acknowledged to its producer is done with."""
        for record in self.ledger.records.values():
            if record.acknowledged and not self.done(record):
                self.findings.violation("lost", f"{record.name} was not delivered to {self.name}")
