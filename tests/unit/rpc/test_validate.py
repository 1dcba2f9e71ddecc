"""The rules of requests, and what is remembered of those that keep them."""

from __future__ import annotations

import pytest
from sira.registry.v1.resolver_service_pb2 import ResolveRequest

from sira_grpc.errors import InvalidField
from sira_grpc.rpc.interceptors import Validate
from tests.unit.rpc.calls import made_call

SERVICE = "namespaces/default/services/orders"


def shown(validate: Validate, request: ResolveRequest, service: str = "sira.registry.v1.ResolverService") -> None:
    validate.request(made_call(service=service), request, request.SerializeToString())


def test_what_breaks_a_rule_is_refused_every_time() -> None:
    validate = Validate()
    for _ in range(3):
        with pytest.raises(InvalidField) as caught:
            shown(validate, ResolveRequest(service="Orders"))
        assert [violation.field for violation in caught.value.violations] == ["service"]
    assert validate.remembered == 0


def test_sound_requests_are_remembered_within_bounds() -> None:
    validate = Validate()
    for index in range(5000):
        shown(validate, ResolveRequest(service=SERVICE, hash_key=str(index)))
        shown(validate, ResolveRequest(service=SERVICE, hash_key=str(index)))
        assert 0 < validate.remembered <= 4096
    shown(validate, ResolveRequest(service=SERVICE))
    before = validate.remembered
    shown(validate, ResolveRequest(service=SERVICE, hash_key="x" * 1000))
    assert validate.remembered == before


def test_what_one_method_may_be_asked_another_may_not() -> None:
    validate = Validate()
    request = ResolveRequest(service="Orders")
    shown(validate, request, service="grpc.health.v1.Health")
    with pytest.raises(InvalidField):
        shown(validate, request)


def test_a_service_that_no_proto_describes_is_a_defect() -> None:
    with pytest.raises(KeyError):
        Validate.warm(["sira.registry.v1.NoSuchService"])
