"""Records as they are printed."""

from __future__ import annotations

import json
import zlib
from collections.abc import Sequence

import pytest
import yaml
from sira.bus.v1.frame_pb2 import Compression, Frame
from sira.bus.v1.record_pb2 import Attributes, Record
from sira.bus.v1.subscription_service_pb2 import Delivery
from sira_client.bus import ReadRecord
from sira_client.bus.delivered import DeliveredFrame
from sira_client.bus.settling import Round, Settler
from sira_client.frames import pack

from sira_grpc.cli.bus.record_printer import RecordPrinter
from sira_grpc.cli.output import Format, Printer

Captured = pytest.CaptureFixture[str]


class NoHolder:
    """A stream of which nobody asks anything."""

    settler: Settler

    def consume(self, records: int, size: int) -> None: ...

    def released(self, frame: DeliveredFrame) -> None: ...

    def gave_back(self, frame: DeliveredFrame, positions: Sequence[int], round_: Round) -> None: ...


def read(frame: bytes, attempt: int = 0) -> ReadRecord:
    delivery = Delivery(topic="orders", partition=1, base_offset=17, attempt=attempt, frame=frame)
    delivery.publish_time.FromJsonString("2026-01-31T10:00:00.125Z")
    delivery.checksum = zlib.crc32(frame)
    return ReadRecord(DeliveredFrame(delivery, NoHolder(), serial=1, arrived_ns=0), 0)


def plain(payload: bytes) -> ReadRecord:
    return read(pack([Record(payload=payload)]))


FULL = Record(
    id="i-1",
    key=b"k",
    payload=b'{"a":1}',
    attributes=Attributes(headers={"b": "2", "a": "\x1b"}, content_type="application/json"),
)


def test_for_people(capsys: Captured) -> None:
    printer = RecordPrinter(Printer(Format.TABLE))
    printer.show(plain(b"hello\n[red]world"))
    printer.show(read(pack([FULL]), attempt=2))
    printer.show(plain(b""))
    assert capsys.readouterr().out.splitlines() == [
        "orders/1@17  2026-01-31T10:00:00.125Z",
        "  hello",
        "  [red]world",
        'orders/1@17  2026-01-31T10:00:00.125Z  delivery 2  key=k  id=i-1  application/json  a="\\u001b"  b=2',
        '  {"a": 1}',
        "orders/1@17  2026-01-31T10:00:00.125Z",
    ]


def test_for_programs(capsys: Captured) -> None:
    RecordPrinter(Printer(Format.JSON)).show(read(pack([FULL]), attempt=2))
    RecordPrinter(Printer(Format.YAML)).show(plain(b"\xff"))
    first, rest = capsys.readouterr().out.split("\n", 1)
    shown = json.loads(first)
    record = shown.pop("record")
    assert shown == {
        "topic": "orders",
        "partition": 1,
        "offset": "17",
        "attempt": 2,
        "publishTime": "2026-01-31T10:00:00.125000Z",
        "text": '{"a":1}',
    }
    assert (record["id"], record["key"], record["payload"]) == ("i-1", "aw==", "eyJhIjoxfQ==")
    assert record["eventTime"] == "2026-01-31T10:00:00.125Z"
    assert record["attributes"]["headers"] == {"a": "\x1b", "b": "2"}
    second = yaml.safe_load(rest)
    assert "text" not in second
    assert second["record"]["payload"] == "/w=="


def test_a_payload_that_cannot_be_read_is_told(capsys: Captured) -> None:
    frame = Frame(count=1, compression=Compression.COMPRESSION_ZSTD, payloads_bytes=5, payload_sizes=[5], payloads=b"x")
    record = read(frame.SerializeToString())
    RecordPrinter(Printer(Format.TABLE)).show(record)
    RecordPrinter(Printer(Format.JSON)).show(record)
    _, told, data = capsys.readouterr().out.splitlines()
    assert "payloads" in told
    assert json.loads(data)["error"] == told.strip()
