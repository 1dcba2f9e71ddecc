"""What the cells of tables show: states, ages, places and labels, as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from sira_grpc.cli.durations import brief

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp
    from sira.registry.v1.endpoint_pb2 import Endpoint
    from sira.registry.v1.health_check_pb2 import HealthState
    from sira.registry.v1.locality_pb2 import Locality

_STYLES = {"SERVING": "green", "NOT_SERVING": "red", "DRAINING": "yellow", "STARTING": "cyan", "UNKNOWN": "magenta"}


def text(value: str) -> str:
    """Free text, so that no bracket in it is taken for markup."""
    from rich.markup import escape

    return escape(value)


def count(number: int, noun: str) -> str:
    """How many there are: `1 record`, `2,000 records`."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def state(value: HealthState.ValueType, *, suspect: bool = False) -> str:
    """A health state, coloured."""
    from sira.registry.v1.health_check_pb2 import HealthState

    name = HealthState.Name(value).removeprefix("HEALTH_STATE_")
    shown = f"{name} (suspect)" if suspect else name
    return f"[{_STYLES[name]}]{shown}[/]" if name in _STYLES and not suspect else shown


def age(time: Timestamp, now: datetime | None = None) -> str:
    """How long ago it was; empty for a time that is not set."""
    if not time.seconds:
        return ""
    return brief((now or datetime.now(UTC)) - time.ToDatetime(UTC))


def moment(time: Timestamp) -> str:
    """A time as RFC 3339, to the second, in UTC; empty for one that is not set."""
    return time.ToDatetime(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if time.seconds else ""


def ahead(time: Timestamp, now: datetime | None = None) -> str:
    """How long it is until then: `in 5h`, or `5h ago`; empty for a time that is not set."""
    return "" if not time.seconds else until(time.ToDatetime(UTC).timestamp(), now)


def until(seconds: float, now: datetime | None = None) -> str:
    """The same, of Unix seconds."""
    left = datetime.fromtimestamp(seconds, UTC) - (now or datetime.now(UTC))
    return f"in {brief(left)}" if left > timedelta(0) else f"{brief(-left)} ago"


def locality(place: Locality) -> str:
    """`region/zone`, as far as it is known."""
    return text("/".join(part for part in (place.region, place.zone) if part))


def labels(pairs: Mapping[str, str]) -> str:
    """`k=v,k2=v2`, ordered by key."""
    return text(",".join(f"{key}={pairs[key]}" for key in sorted(pairs)))


def address(host: str, port: int) -> str:
    """`host:port`, with brackets around an IPv6 address."""
    return text(f"[{host}]:{port}" if ":" in host else f"{host}:{port}")


def endpoint_address(endpoint: Endpoint) -> str:
    """The preferred address of an endpoint; empty if a field mask left it out."""
    return address(endpoint.addresses[0], endpoint.port) if endpoint.addresses else ""
