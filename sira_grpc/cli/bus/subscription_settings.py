"""The options that describe a subscription, and its settings in words."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from sira_grpc.cli import durations
from sira_grpc.cli.bus.setting import Setting, Settings

if TYPE_CHECKING:
    from sira.bus.v1.subscription_pb2 import Subscription


def _option(kind: Any, text: str, **more: Any) -> Any:
    return Annotated[kind, typer.Option(help=text, **more)]


SETTINGS: Settings = {
    "description": Setting("description", _option(str | None, "Free text for people.")),
    "ack_timeout": Setting(
        "ack_timeout",
        _option(str | None, "How long a consumer may take before a record is delivered again. Default: 30s."),
        durations.parse,
    ),
    "max_deliveries": Setting(
        "retry.max_deliveries",
        _option(int | None, "Deliveries after which a record becomes a dead letter. Default: 10.", min=0),
    ),
    "min_backoff": Setting(
        "retry.min_backoff",
        _option(str | None, "Delay before a record is delivered again the first time; it doubles. Default: 1s."),
        durations.parse,
    ),
    "max_backoff": Setting(
        "retry.max_backoff", _option(str | None, "Longest such delay. Default: 10m."), durations.parse
    ),
    "max_outstanding": Setting(
        "max_outstanding",
        _option(int | None, "Records of a partition that may be with consumers. Default: 20,000.", min=0),
    ),
}


def mode(subscription: Subscription) -> str:
    """`queue` or `ordered`."""
    from sira.bus.v1.subscription_pb2 import SubscriptionMode

    return "ordered" if subscription.mode == SubscriptionMode.SUBSCRIPTION_MODE_ORDERED else "queue"


def ack_timeout(subscription: Subscription) -> str:
    """How long a consumer may take."""
    return _span(subscription, "ack_timeout", "30s")


def retry(subscription: Subscription) -> str:
    """When a record is delivered again and how often, in one line."""
    policy = subscription.retry
    backoff = f"{_span(policy, 'min_backoff', '1s')} to {_span(policy, 'max_backoff', '10m')}"
    return f"{policy.max_deliveries or 10:,} deliveries, {backoff} apart"


def _span(message: Any, field: str, default: str) -> str:
    return durations.exact(getattr(message, field).ToTimedelta()) if message.HasField(field) else default
