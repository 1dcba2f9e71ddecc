"""The table of what is forwarded."""

from __future__ import annotations

from typing import Any

import pytest
from google.protobuf import descriptor_pool, message_factory
from sira.bus.v1 import dead_letter_service_pb2, publish_service_pb2, subscription_service_pb2, topic_service_pb2

from sira_grpc.rpc.forwarding.routes import ROUTES, bus_unit

MODULES = (dead_letter_service_pb2, publish_service_pb2, subscription_service_pb2, topic_service_pb2)
METHODS = {
    f"{service.full_name}/{method.name}": method
    for module in MODULES
    for service in module.DESCRIPTOR.services_by_name.values()
    for method in service.methods
}
TOPIC, SUBSCRIPTION = "namespaces/eu/topics/orders", "namespaces/eu/subscriptions/billing"


def test_every_method_of_the_bus_has_a_row() -> None:
    assert set(ROUTES) == set(METHODS)


@pytest.mark.parametrize("method", ROUTES)
def test_the_unit_is_the_namespace_that_the_request_names(method: str) -> None:
    request: Any = message_factory.GetMessageClass(
        descriptor_pool.Default().FindMessageTypeByName(METHODS[method].input_type.full_name)
    )()
    assert ROUTES[method](request) == ""
    fields = request.DESCRIPTOR.fields_by_name
    if "open" in fields:
        request.open.tail.parent = "namespaces/eu"
        assert ROUTES[method](request) == "bus/eu"
        request.open.subscription = SUBSCRIPTION
    elif "subscription" in fields:
        request.subscription.name = SUBSCRIPTION
    elif "topic" in fields and fields["topic"].message_type is not None:
        request.topic.name = TOPIC
    elif "name" in fields:
        request.name = TOPIC
    elif "parent" in fields:
        request.parent = SUBSCRIPTION
    else:
        request.topic = TOPIC
    assert ROUTES[method](request) == "bus/eu"


@pytest.mark.parametrize("name", ["", "namespaces", "namespaces/", "topics/x", "namespaces//topics/x"])
def test_a_name_that_is_none_has_no_unit(name: str) -> None:
    assert bus_unit(name) == ""
