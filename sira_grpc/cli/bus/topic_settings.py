"""The options that describe a topic, and a topic's settings in words."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sira_grpc.cli import durations
from sira_grpc.cli.bus import sizes
from sira_grpc.cli.bus.setting import Setting, Settings

if TYPE_CHECKING:
    from sira.bus.v1.topic_pb2 import Topic

RETENTION, LIMITS = "Retention", "Limits"


class WhenFull(StrEnum):
    """What `--when-full` takes."""

    DISCARD_OLDEST = "discard-oldest"
    REFUSE = "refuse"


def _when_full(chosen: WhenFull, _: str) -> int:
    from sira.bus.v1 import topic_pb2

    return topic_pb2.WhenFull.Value(f"WHEN_FULL_{chosen.name}")


def _option(kind: Any, text: str, panel: str | None = None, **more: Any) -> Any:
    return Annotated[kind, typer.Option(help=text, rich_help_panel=panel, **more)]


SETTINGS: Settings = {
    "description": Setting("description", _option(str | None, "Free text for people.")),
    "max_age": Setting(
        "retention.max_age",
        _option(str | None, "How long records are kept; 0: for ever. Default: 7d.", RETENTION),
        durations.parse,
    ),
    "max_bytes": Setting(
        "retention.max_bytes",
        _option(str | None, "What a partition may hold, such as 10GiB; 0: any number.", RETENTION),
        sizes.parse,
    ),
    "max_records": Setting(
        "retention.max_records",
        _option(int | None, "Records that a partition may hold; 0: any number.", RETENTION, min=0),
    ),
    "when_full": Setting(
        "retention.when_full",
        _option(WhenFull | None, "What happens to a publish beyond that. Default: discard-oldest.", RETENTION),
        _when_full,
    ),
    "compact": Setting(
        "compaction",
        Annotated[
            bool | None,
            typer.Option("--compact/--no-compact", help="Keep the last record of each key.", rich_help_panel=RETENTION),
        ],
    ),
    "compact_min_age": Setting(
        "compaction.min_age",
        _option(str | None, "Compact, but no records that are younger than this. Default: 1m.", RETENTION),
        durations.parse,
    ),
    "tombstone_age": Setting(
        "compaction.tombstone_age",
        _option(str | None, "Compact, but keep what deletes a key for this long. Default: 1d.", RETENTION),
        durations.parse,
    ),
    "dedup": Setting(
        "deduplication_window",
        _option(
            str | None, "For how long ids are remembered, so that none is there twice; 0: not. Default: 2m.", LIMITS
        ),
        durations.parse,
    ),
    "max_record_bytes": Setting(
        "limits.max_record_bytes",
        _option(str | None, "Size of one record, at most. Default: 1MiB.", LIMITS),
        sizes.parse,
    ),
    "records_per_second": Setting(
        "limits.records_per_second",
        _option(int | None, "From one publisher, at most; 0: any number.", LIMITS, min=0),
    ),
    "bytes_per_second": Setting(
        "limits.bytes_per_second",
        _option(str | None, "From one publisher, at most, such as 5MiB; 0: any number.", LIMITS),
        sizes.parse,
    ),
}


def durability(topic: Topic) -> str:
    """`disk` or `memory`."""
    from sira.bus.v1.topic_pb2 import Durability

    return "memory" if topic.durability == Durability.DURABILITY_MEMORY else "disk"


def retention(topic: Topic) -> str:
    """How long and how much is kept, in one line."""
    from sira.bus.v1 import topic_pb2

    kept = topic.retention
    for_ever = kept.HasField("max_age") and kept.max_age.ToTimedelta() == timedelta(0)
    parts = ["for ever" if for_ever else _span(kept, "max_age", "7d")]
    if kept.max_bytes or durability(topic) == "memory":
        parts.append(sizes.brief(kept.max_bytes or 64 << 20))
    if kept.max_records:
        parts.append(f"{kept.max_records:,} records")
    if kept.when_full == topic_pb2.WhenFull.WHEN_FULL_REFUSE:
        parts.append("refuses when full")
    return ", ".join(parts)


def compaction(topic: Topic) -> str:
    """Whether only the last record of each key is kept."""
    if not topic.HasField("compaction"):
        return ""
    min_age, tombstones = _span(topic.compaction, "min_age", "1m"), _span(topic.compaction, "tombstone_age", "1d")
    return f"last of each key after {min_age}, deletions kept for {tombstones}"


def deduplication(topic: Topic) -> str:
    """For how long ids are remembered."""
    if topic.HasField("deduplication_window") and topic.deduplication_window.ToTimedelta() == timedelta(0):
        return "off"
    return _span(topic, "deduplication_window", "2m")


def limits(topic: Topic) -> str:
    """What a publisher may send, in one line."""
    parts = [f"{sizes.brief(topic.limits.max_record_bytes or 1 << 20)} a record"]
    if topic.limits.records_per_second:
        parts.append(f"{topic.limits.records_per_second:,} records/s")
    if topic.limits.bytes_per_second:
        parts.append(f"{sizes.brief(topic.limits.bytes_per_second)}/s")
    return ", ".join(parts)


def _span(message: Any, field: str, default: str) -> str:
    return durations.exact(getattr(message, field).ToTimedelta()) if message.HasField(field) else default
