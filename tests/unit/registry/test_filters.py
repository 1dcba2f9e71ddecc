from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira.registry.v1.endpoint_pb2 import Endpoint, EndpointStatus
from sira.registry.v1.health_check_pb2 import HealthState
from sira.registry.v1.lease_pb2 import Lease, LeaseState
from sira.registry.v1.locality_pb2 import Locality

from sira_grpc.errors import InvalidFilter
from sira_grpc.registry.filters import compile_filter

ENDPOINT = Endpoint(
    name="namespaces/n/services/s/endpoints/e",
    addresses=["10.0.0.1", "e.example"],
    port=8080,
    locality=Locality(region="eu", zone="eu-1"),
    metadata={"team": 'pay "pal"', "a.b": "dotted"},
    tags=["canary"],
    status=EndpointStatus(state=HealthState.HEALTH_STATE_SERVING, suspect=True),
)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "port = 8080",
        "port=8080",
        'port = "8080"',
        "port != 81",
        "locality.region = eu AND locality.zone = eu-1",
        '  locality.region="eu"   AND   port != 1  ',
        'locality.region="eu"AND port=8080',
        "status.state = HEALTH_STATE_SERVING",
        "status.suspect = true",
        'metadata.team = "pay \\"pal\\""',
        "metadata.team:pal",
        "metadata.a.b = dotted",
        'metadata.none = ""',
        "metadata:team",
        "tags:canary",
        "addresses:e.example",
        "name:services/s",
        "status.state:HEALTH_STATE_SERVING",
        "port:8080",
        "health_check.grpc.port = 0",
        "status.suspect:true",
    ],
)
def test_what_matches(text: str) -> None:
    assert compile_filter(text, Endpoint)(ENDPOINT)


@pytest.mark.parametrize(
    "text",
    [
        "port = 81",
        "port != 8080",
        "locality.region = eu AND locality.zone = eu-2",
        "status.state = HEALTH_STATE_DRAINING",
        "status.suspect = false",
        "metadata.team:palindrome",
        "metadata.none = x",
        "metadata:none",
        "tags:can",
        'tags = "canary"',
        "create_time:x",
    ],
)
def test_what_does_not_match(text: str) -> None:
    assert not compile_filter(text, Endpoint)(ENDPOINT)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("port >", "expected `field"),
        ("port", "expected `field"),
        ("= 3", "expected `field"),
        ('name = "open', "expected `field"),
        ("port = 1 port = 2", "expected AND at character 9"),
        ("port = 1 OR port = 2", "expected AND"),
        ("port = 1 AND", "expected AND"),
        ("port = 1 AND ", "expected AND"),
        ("AND port = 1", "expected `field"),
        ("nope = 1", "Endpoint has no field 'nope'"),
        ("locality.nope = 1", "Locality has no field 'nope'"),
        ("port.nope = 1", "'port' is not a message"),
        ("locality. = 1", "Locality has no field ''"),
    ],
)
def test_what_cannot_be_read(text: str, told: str) -> None:
    with pytest.raises(InvalidFilter, match=r"^filter: ") as error:
        compile_filter(text, Endpoint)
    assert told in error.value.message


def test_an_enum_is_compared_by_its_name() -> None:
    held = Lease(state=LeaseState.LEASE_STATE_HELD)
    assert compile_filter("state = LEASE_STATE_HELD", Lease)(held)
    assert compile_filter("state != LEASE_STATE_SUSPECT", Lease)(held)


@given(st.text(max_size=40))
def test_any_text_is_read_or_refused(text: str) -> None:
    with suppress(InvalidFilter):
        assert compile_filter(text, Endpoint)(ENDPOINT) in (True, False)


@given(st.text(max_size=20))
def test_any_value_can_be_quoted(value: str) -> None:
    quoted = value.replace("\\", "\\\\").replace('"', '\\"')
    endpoint = Endpoint(version=value)
    assert compile_filter(f'version = "{quoted}"', Endpoint)(endpoint)
    assert not compile_filter(f'version = "{quoted}x"', Endpoint)(endpoint)
