"""What cells show."""

from __future__ import annotations

from datetime import UTC, datetime

from google.protobuf.timestamp_pb2 import Timestamp
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthState
from sira.registry.v1.locality_pb2 import Locality

from sira_grpc.cli import cells

TIME = Timestamp(seconds=1_700_000_000)


def test_states_are_coloured_unless_suspect() -> None:
    assert cells.state(HealthState.HEALTH_STATE_SERVING) == "[green]SERVING[/]"
    assert cells.state(HealthState.HEALTH_STATE_SERVING, suspect=True) == "SERVING (suspect)"
    assert cells.state(HealthState.HEALTH_STATE_UNSPECIFIED) == "UNSPECIFIED"


def test_ages_and_moments() -> None:
    assert cells.age(TIME, datetime.fromtimestamp(1_700_000_125, UTC)) == "2m"
    assert cells.moment(TIME) == "2023-11-14T22:13:20Z"
    assert cells.age(Timestamp()) == cells.moment(Timestamp()) == ""


def test_times_to_come() -> None:
    now = datetime.fromtimestamp(1_700_000_000, UTC)
    assert cells.ahead(Timestamp(seconds=1_700_000_125), now) == "in 2m"
    assert cells.until(1_700_000_000 - 7200, now) == "2h ago"
    assert cells.ahead(Timestamp()) == ""


def test_localities_as_far_as_they_are_known() -> None:
    assert cells.locality(Locality(region="eu", zone="a")) == "eu/a"
    assert cells.locality(Locality(region="eu")) == "eu"
    assert cells.locality(Locality()) == ""


def test_labels_are_ordered_and_no_markup() -> None:
    assert cells.labels({"b": "[red]", "a": "1"}) == r"a=1,b=\[red]"


def test_addresses() -> None:
    assert cells.endpoint_address(Endpoint(addresses=["10.0.0.1", "10.0.0.2"], port=80)) == "10.0.0.1:80"
    assert cells.endpoint_address(Endpoint(addresses=["::1"], port=80)) == r"[::1]:80"
    assert cells.endpoint_address(Endpoint(port=80)) == ""


def test_counts() -> None:
    assert [cells.count(number, "record") for number in (0, 1, 2000)] == ["0 records", "1 record", "2,000 records"]
