"""What publishing and consuming must refuse."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.timestamp_pb2 import Timestamp
from sira.bus.v1 import publish_service_pb2 as publish
from sira.bus.v1 import subscription_service_pb2 as pb
from sira.bus.v1.frame_pb2 import Compression, Frame
from sira.bus.v1.record_pb2 import Attributes, CloudEvent, Record, TraceContext
from sira.bus.v1.subscription_pb2 import PartitionOffset, StartPosition
from sira_client.frames import pack_columns

from tests.clocks import FakeClock
from tests.integration.bus_subscription_cases import MALFORMED_SUBSCRIPTIONS, MISSING, NO_TIMES
from tests.integration.bus_topic_cases import BAD_PATTERNS, MALFORMED_TOPICS, NEGATIVE, NOWHERE
from tests.integration.bus_world import (
    ELSEWHERE,
    FULL,
    KNOWN_ID,
    NO_TOPIC,
    ORDERS,
    PRODUCER,
    REPEATED,
    SMALL,
    TINY,
    WORK,
    framed,
)
from tests.integration.registry_world import DEFAULT, MALFORMED, Case, Code, broken, missing, refused

NOW_NS = FakeClock().time_ns()
DAY_NS = 86_400_000_000_000
HIGHEST = (1 << 64) - 1
COUNT = 3
ZSTD = Compression.COMPRESSION_ZSTD
LZ4 = Compression.COMPRESSION_LZ4


def publishing() -> Iterator[tuple[str, list[Case]]]:
    """What PublishService must refuse, by RPC."""
    yield "Publish", list(_publishing())
    yield "PublishFrames", list(_publishing_frames())


def _publishing() -> Iterator[Case]:
    request, record = publish.PublishRequest, Record(payload=b"x")
    for name in MALFORMED_TOPICS:
        yield broken("topic", request(topic=name, records=[record]))
    for name in (NO_TOPIC, f"{NOWHERE}/topics/orders", f"{ELSEWHERE}/topics/orders"):
        yield missing("TOPIC", request(topic=name, records=[record]))
    yield broken("records", request(topic=ORDERS))
    yield broken("records", request(topic=ORDERS, records=[record] * 1001))
    for partition in (2, (1 << 32) - 1):
        yield broken("partition", request(topic=ORDERS, records=[record], partition=partition))
    for field, bad in _bad_records():
        yield broken(f"records[1].{field}", request(topic=ORDERS, records=[record, bad]))
    # Records 0 and 1 go to another partition than record 2.
    far = Record(payload=b"x", key=b"k", deliver_at=_after_days(367))
    yield broken("records[2].deliver_at", request(topic=ORDERS, records=[record, record, far]))
    for bad in (Record(payload=bytes(SMALL + 1)), Record(key=bytes(SMALL // 2), payload=bytes(SMALL // 2 + 1))):
        yield broken("records[1]", request(topic=TINY, records=[record, bad]))
    described = Record(payload=b"x", attributes=Attributes(content_type="x" * SMALL))
    yield broken("records[0]", request(topic=TINY, records=[described, record]))
    full = refused(Code.RESOURCE_EXHAUSTED, "TOPIC_FULL", request(topic=FULL, records=[record]))
    yield full


def _after_days(days: int) -> Timestamp:
    return Timestamp(seconds=(NOW_NS + days * DAY_NS) // 1_000_000_000)


def _bad_records() -> Iterator[tuple[str, Record]]:
    """Records that break a rule, and the field."""
    yield "id", Record(id="x" * 129)
    yield "key", Record(key=bytes(1025))
    yield "payload", Record(payload=bytes((1 << 20) + 1))
    for ttl in (NEGATIVE, Duration(), Duration(nanos=999_999), Duration(seconds=4_233_600, nanos=1)):
        yield "ttl", Record(ttl=ttl)
    for time in NO_TIMES:
        yield "event_time", Record(event_time=time)
        yield "deliver_at", Record(deliver_at=time)
    for seconds in (1 << 34, -(1 << 34)):  # beyond what 64 bits hold in nanoseconds: the years 2514 and 1425
        yield "event_time", Record(event_time=Timestamp(seconds=seconds))
    yield "deliver_at", Record(deliver_at=Timestamp(seconds=1 << 34))
    yield "deliver_at", Record(deliver_at=_after_days(367))
    for field, bad in _bad_attributes():
        yield f"attributes.{field}", Record(attributes=bad)
    large = Attributes(headers={f"h{n}": "x" * 4096 for n in range(17)})
    yield "attributes", Record(attributes=large)


def _bad_attributes() -> Iterator[tuple[str, Attributes]]:
    yield "headers", Attributes(headers={f"h{n}": "" for n in range(65)})
    for name in ("", "x" * 129):
        yield "headers", Attributes(headers={name: ""})
    yield "headers", Attributes(headers={"h": "\u00e9" * 2049})
    yield "content_type", Attributes(content_type="x" * 257)
    for field, size in (("source", 513), ("type", 257), ("subject", 513), ("data_schema", 513)):
        event = CloudEvent(**{field: "x" * size})  # type: ignore[arg-type]  # these are all strings
        yield f"cloud_event.{field}", Attributes(cloud_event=event)
    for extensions in ({"": ""}, {"A": ""}, {"x" * 65: ""}, {"x": "x" * 4097}, {f"x{n}": "" for n in range(33)}):
        yield "cloud_event.extensions", Attributes(cloud_event=CloudEvent(extensions=extensions))
    yield "trace_context.traceparent", Attributes(trace_context=TraceContext(traceparent="x" * 129))
    yield "trace_context.tracestate", Attributes(trace_context=TraceContext(tracestate="x" * 513))


def _publishing_frames() -> Iterator[Case]:
    for first in ((), (REPEATED,)):
        yield from _bad_frame_requests(first)
    good = pack_columns([b"x"])
    for topic in ("", *MALFORMED_TOPICS):
        yield broken("topic", framed(good, topic=topic))
    yield broken("topic", REPEATED, framed(good, topic=MALFORMED_TOPICS[1]))
    yield missing("TOPIC", REPEATED, framed(good, topic=NO_TOPIC))
    # With the producer of the request before.
    yield broken("sequence", REPEATED, framed(good, topic=""))
    yield _gap(REPEATED, framed(good, topic="", sequence=4))


def _bad_frame_requests(first: Sequence[publish.PublishFramesRequest]) -> Iterator[Case]:
    """What is refused of a stream, from its first request on or after one that is right."""
    good = pack_columns([b"x", b"y"])
    for partition in (2, (1 << 32) - 1):
        yield broken("partition", *first, framed(good, partition=partition, sequence=1))
    yield broken("frame", *first, framed(b"", sequence=1))
    yield broken("frame", *first, framed(bytes(3_145_729), sequence=1))
    for crc in (0, 1, 0xFFFFFFFF):
        yield broken("checksum", *first, framed(good, checksum=crc, sequence=1))
    for data in (b"\xff", b"\x0a\x05ab", b"\x07", good[:-1], b"garbage" * 100):
        yield broken("frame", *first, framed(data, sequence=1))
    for name in ("a b", "$scheduled", "x" * 65, "\u00e9", "a\n"):
        yield broken("producer_id", *first, framed(good, producer_id=name, sequence=1))
    yield broken("sequence", *first, framed(good, producer_id="new"))
    for sequence in (HIGHEST, HIGHEST - 1):
        yield broken("sequence", *first, framed(good, producer_id="new", sequence=sequence))
    for sequence in (2, 4, HIGHEST - 10):  # 2 cuts across the frame of 1 and 2
        yield _gap(*first, framed(good, producer_id=PRODUCER, sequence=sequence))
    for field, frame in _bad_frames():
        yield broken(f"frame.{field}", *first, framed(frame.SerializeToString(), producer_id="new", sequence=1))
    oversized = framed(pack_columns([b"x", bytes(SMALL + 1)]), topic=TINY, producer_id="new", sequence=1)
    yield broken("frame.record 1", *first, oversized)
    full = framed(pack_columns([b"x"]), topic=FULL, producer_id="new", sequence=1)
    yield refused(Code.RESOURCE_EXHAUSTED, "TOPIC_FULL", *first, full)


def _gap(*requests: publish.PublishFramesRequest) -> Case:
    return refused(Code.FAILED_PRECONDITION, "SEQUENCE_GAP", *requests)


def _frame(**columns: Any) -> Frame:
    """A frame of three records of one byte each, but for some of its columns."""
    sound = {"count": COUNT, "payloads_bytes": COUNT, "payload_sizes": [1] * COUNT, "payloads": b"abc"}
    return Frame(**{**sound, **columns})


def _bad_frames() -> Iterator[tuple[str, Frame]]:
    """Frames that break a rule, and the field."""
    for count in (0, 10_001, (1 << 32) - 1):
        yield "count", _frame(count=count)
    yield "count", Frame(count=10_001, payload_sizes=[0] * 10_001)
    for sizes in ([], [1], [1] * 4):
        yield "payload_sizes", _frame(payload_sizes=sizes)
    for sizes in ([1, 1, 0], [1, 1, 2], [(1 << 32) - 1] * 3, [0, 0, 0]):
        yield "payload_sizes", _frame(payload_sizes=sizes)
    for payloads in (b"", b"ab", b"abcd"):
        yield "payloads", _frame(payloads=payloads)
    yield "payload_sizes", _frame(payloads_bytes=4)
    for compression in (3, -1, 99):
        yield "compression", _frame(compression=compression)
    yield "payloads_bytes", _frame(compression=ZSTD, payloads_bytes=(32 << 20) + 1)
    yield from _bad_columns()
    yield "deliver_at_ns", _frame(deliver_at_ns=[0, 0, NOW_NS + 730 * DAY_NS])
    yield "deliver_at_ns", _frame(deliver_at_ns=[0, 0, (1 << 63) - 1])
    # Scheduled records part, so that their payloads must be readable.
    for compression in (ZSTD, LZ4):
        for payloads in (b"", b"no such thing", b"\x28\xb5\x2f\xfd", b"\x04\x22\x4d\x18"):
            waiting = _frame(compression=compression, payloads=payloads, deliver_at_ns=[NOW_NS + DAY_NS] * 3)
            yield "payloads", waiting
        # So do those of a frame of which some are there already.
        yield "payloads", _frame(compression=compression, payloads=b"no such thing", ids=["", KNOWN_ID, "new"])


def _bad_columns() -> Iterator[tuple[str, Frame]]:
    columns = {
        "key_sizes": [0] * 4,
        "ids": ["a", "b"],
        "event_times_ns": [1],
        "ttls_ms": [1] * 4,
        "deliver_at_ns": [1] * 2,
        "attributes": [Attributes()],
    }
    for name, column in columns.items():
        yield name, _frame(**{name: column})
    for keys, sizes in ((b"abc", []), (b"", [1, 1, 1]), (b"ab", [1, 1, 1]), (b"abcd", [1, 1, 1])):
        yield "key_sizes", _frame(keys=keys, key_sizes=sizes)
    yield "key_sizes", _frame(keys=bytes(1025), key_sizes=[1025, 0, 0])
    yield "ids", _frame(ids=["", "x" * 129, ""])
    large = Attributes(content_type="x" * (64 << 10))
    yield "attributes", _frame(attributes=[Attributes(), large, Attributes()])
    yield "attributes", _frame(common_attributes=large)


def subscribing() -> Iterator[tuple[str, list[Case]]]:
    """What Subscribe must refuse."""
    yield "Subscribe", [*_opening(), *_after_opening()]


def _opening() -> Iterator[Case]:
    yield broken("action", pb.SubscribeRequest())
    yield broken("open", pb.SubscribeRequest(credit=pb.Credit(records=1, bytes=1)))
    yield broken("open", _settle(_settlement()))
    yield broken("open.source", _open())
    for name in MALFORMED_SUBSCRIPTIONS:
        yield broken("open.subscription", _open(subscription=name))
    for name in MISSING:
        yield missing("SUBSCRIPTION", _open(subscription=name))
    yield broken("open.consumer", _open(subscription=WORK, consumer="x" * 129))
    for parent in MALFORMED:
        yield broken("open.tail.parent", _open(tail=pb.Tail(parent=parent, topics=["orders"])))
    yield missing("NAMESPACE", _open(tail=pb.Tail(parent=NOWHERE, topics=["orders"])))
    for field, bad in _bad_tails():
        yield broken(f"open.tail.{field}", _open(tail=bad))


def _open(**source: Any) -> pb.SubscribeRequest:
    return pb.SubscribeRequest(open=pb.OpenSubscription(**source))


def _bad_tails() -> Iterator[tuple[str, pb.Tail]]:
    read: dict[str, Any] = {"parent": DEFAULT, "topics": ["orders"]}
    yield "topics", pb.Tail(parent=DEFAULT)
    yield "topics", pb.Tail(parent=DEFAULT, topics=["a"] * 17)
    for pattern in ("", *BAD_PATTERNS):
        yield "topics[0]", pb.Tail(parent=DEFAULT, topics=[pattern])
    yield "start.position", pb.Tail(start=StartPosition(), **read)
    yield "start.offset.topic", pb.Tail(start=StartPosition(offset=PartitionOffset()), **read)
    yield "start.offset.offset", pb.Tail(start=StartPosition(offset=PartitionOffset(topic="a", offset=-1)), **read)
    for time in NO_TIMES:
        yield "start.time", pb.Tail(start=StartPosition(time=time), **read)
    yield "resume[0].topic", pb.Tail(resume=[PartitionOffset()], **read)
    yield "resume[0].offset", pb.Tail(resume=[PartitionOffset(topic="orders", offset=-1)], **read)
    yield "resume", pb.Tail(resume=[PartitionOffset(topic="a", partition=n) for n in range(4097)], **read)


def _after_opening() -> Iterator[Case]:
    """What is refused of a stream that is open."""
    opening = _open(subscription=WORK)
    tail = _open(tail=pb.Tail(parent=DEFAULT, topics=["orders"]))
    for first in (opening, tail):
        yield broken("open", first, opening)
        yield broken("open", first, tail)
        yield broken("action", first, pb.SubscribeRequest())
        for credit in (pb.Credit(records=1_000_001), pb.Credit(bytes=(1 << 30) + 1), pb.Credit(bytes=HIGHEST)):
            yield broken("credit", first, pb.SubscribeRequest(credit=credit))
        for field, bad in _bad_settles():
            yield broken(f"settle.{field}", first, bad)
    yield broken("settle", tail, _settle(_settlement()))
    for ends in ((5, 5), (5, 4), ((1 << 63) - 1, 1)):
        ordered, reversed_ = _settlement(), _settlement(ranges=[_range(0, 1), _range(*ends)])
        yield broken("settle.settlements[1].ranges[1].end", opening, _settle(ordered, reversed_))


def _settle(*settlements: pb.Settlement) -> pb.SubscribeRequest:
    return pb.SubscribeRequest(settle=pb.Settle(settlements=settlements))


def _range(first: int, end: int) -> pb.OffsetRange:
    return pb.OffsetRange(first=first, end=end)


def _settlement(**fields: Any) -> pb.Settlement:
    return pb.Settlement(**{"topic": "orders", "ranges": [_range(0, 1)], "ack": pb.Ack(), **fields})


def _bad_settles() -> Iterator[tuple[str, pb.SubscribeRequest]]:
    yield "settlements", _settle()
    yield "settlements", _settle(*[_settlement()] * 1001)
    yield "settlements[0].outcome", _settle(_settlement(ack=None))
    yield "settlements[0].ranges", _settle(_settlement(ranges=[]))
    yield "settlements[0].ranges", _settle(_settlement(ranges=[_range(0, 1)] * 10_001))
    yield "settlements[0].topic", _settle(_settlement(topic="x" * 201))
    for ends in ((-1, 1), (-(1 << 63), 1)):
        yield "settlements[1].ranges[0].first", _settle(_settlement(), _settlement(ranges=[_range(*ends)]))
    for ends in ((0, 0), (0, -1)):
        yield "settlements[1].ranges[0].end", _settle(_settlement(), _settlement(ranges=[_range(*ends)]))
    for delay in (NEGATIVE, Duration(seconds=604_800, nanos=1), Duration(seconds=1 << 40)):
        yield "settlements[0].nak.delay", _settle(_settlement(ack=None, nak=pb.Nak(delay=delay)))
    yield "settlements[0].nak.detail", _settle(_settlement(ack=None, nak=pb.Nak(detail="x" * 1025)))
    for timeout in (NEGATIVE, Duration(), Duration(nanos=99_999_999), Duration(seconds=43_200, nanos=1)):
        yield "settlements[0].extend.timeout", _settle(_settlement(ack=None, extend=pb.Extend(timeout=timeout)))
    yield "settlements[0].terminate.detail", _settle(_settlement(ack=None, terminate=pb.Terminate(detail="x" * 1025)))
