"""The arguments and options that choose dead letters."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sira_grpc.cli import names, pairs
from sira_grpc.cli.bus import moments
from sira_grpc.cli.bus.setting import Setting, Settings, fill

if TYPE_CHECKING:
    from sira.bus.v1.dead_letter_service_pb2 import DeadLetterFilter

PANEL = "Which dead letters"

Subscription = Annotated[str, typer.Argument(help="Name of the subscription, such as `billing`.")]
Ids = Annotated[
    list[int] | None, typer.Argument(metavar="[ID]...", min=0, help="Which, by their ids. Without any, all that match.")
]
Given = Mapping[str, Any]


class Reason(StrEnum):
    """What `--reason` takes."""

    MAX_DELIVERIES = "max-deliveries"
    TERMINATED = "terminated"
    CORRUPT = "corrupt"


def _reason(chosen: Reason, _: str) -> int:
    from sira.bus.v1.dead_letter_pb2 import DeadLetterReason

    return DeadLetterReason.Value(f"DEAD_LETTER_REASON_{chosen.name}")


def _option(kind: Any, text: str, **more: Any) -> Any:
    return Annotated[kind, typer.Option(help=text, rich_help_panel=PANEL, **more)]


FILTERS: Settings = {
    "key": Setting("key", _option(str | None, "Whose key is this."), lambda key, _: os.fsencode(key)),
    "header": Setting(
        "headers",
        _option(list[str] | None, "With this header; repeatable, all must be there.", metavar="KEY=VALUE"),
        pairs.parse,
    ),
    "reason": Setting("reason", _option(Reason | None, "Given up for this reason."), _reason),
    "topic": Setting("topic", _option(str | None, "Of this topic."), lambda topic, _: names.own(topic)),
    "after": Setting("after", _option(str | None, "Given up at this time or later, such as `-1h`."), moments.parse),
    "before": Setting("before", _option(str | None, "Given up before this time."), moments.parse),
}


def chosen(ids: Sequence[int] | None, given: Given) -> DeadLetterFilter:
    """The filter that the arguments and options come to.

    Raises:
        Failure: an option cannot be read.
    """
    from sira.bus.v1.dead_letter_service_pb2 import DeadLetterFilter

    wanted = DeadLetterFilter(ids=ids or ())
    fill(wanted, FILTERS, given)
    return wanted
