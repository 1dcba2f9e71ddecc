from __future__ import annotations

import pytest
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.registry_service_pb2 import RegisterEndpointsRequest

from sira_grpc.errors import FieldViolation, InvalidField
from sira_grpc.rules import check_rules

NAME = "namespaces/n/services/s/endpoints/e"


def violations(message: Endpoint | RegisterEndpointsRequest, *, within: str = "") -> tuple[FieldViolation, ...]:
    with pytest.raises(InvalidField) as error:
        check_rules(message, within=within)
    return error.value.violations


def test_what_keeps_the_rules_passes() -> None:
    check_rules(Endpoint(name=NAME, addresses=["a"], port=1))


def test_each_field_that_breaks_one_is_named_with_the_rule() -> None:
    found = violations(Endpoint(name="x", addresses=["a", "b c"], port=70000))
    assert [v.field for v in found] == ["name", "addresses[1]", "port"]
    assert all(v.rule for v in found)
    assert "65535" in found[2].rule


def test_fields_are_named_from_the_request_on() -> None:
    assert [v.field for v in violations(Endpoint(name=NAME, addresses=["a"]), within="endpoint")] == ["endpoint.port"]
    request = RegisterEndpointsRequest(endpoints=[Endpoint(name=NAME, addresses=["a"], port=1, metadata={"": "v"})])
    (found,) = violations(request)
    assert found.field.startswith("endpoints[0].metadata[")


def test_a_message_as_a_whole() -> None:
    request = RegisterEndpointsRequest()
    assert [v.field for v in violations(request)] == ["endpoints"]
