from __future__ import annotations

import logging
from typing import Any

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DiscoveryRequest

from sira_grpc.errors import InvalidField
from sira_grpc.xds import requests
from sira_grpc.xds.node import ENVOY
from sira_grpc.xds.requests import MAX_LOGGED, node_of, type_of
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS


@pytest.mark.parametrize(
    ("asked", "own", "found"),
    [(CLUSTER, None, CLUSTER), (CLUSTER, CLUSTER, CLUSTER), ("", CLUSTER, CLUSTER), ("unknown", None, "")],
)
def test_the_type(asked: str, own: str | None, found: str) -> None:
    assert type_of(DiscoveryRequest(type_url=asked), own, delta=False) == found
    assert type_of(DeltaDiscoveryRequest(type_url=asked), own, delta=True) == found


@pytest.mark.parametrize(("asked", "own"), [("", None), (ENDPOINTS, CLUSTER), ("unknown", CLUSTER)])
def test_a_type_that_is_not_that_of_the_stream(asked: str, own: str | None) -> None:
    with pytest.raises(InvalidField, match=r"^type_url: "):
        type_of(DiscoveryRequest(type_url=asked), own, delta=False)


@pytest.mark.parametrize(
    ("message", "field"),
    [
        (DiscoveryRequest, "resource_locators"),
        (DeltaDiscoveryRequest, "resource_locators_subscribe"),
        (DeltaDiscoveryRequest, "resource_locators_unsubscribe"),
    ],
)
def test_resources_are_asked_for_by_name(message: Any, field: str) -> None:
    request = message(type_url=CLUSTER, **{field: [{"name": "a"}]})
    with pytest.raises(InvalidField, match=rf"^{field}: "):
        type_of(request, None, delta=message is DeltaDiscoveryRequest)


def test_an_unknown_type_is_logged_once(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "_logged", set())
    with caplog.at_level(logging.WARNING, logger="sira_grpc.xds.requests"):
        for _ in range(2):
            for i in range(2 * MAX_LOGGED):
                type_of(DiscoveryRequest(type_url=f"type {i}"), None, delta=False)
    assert len(caplog.records) == MAX_LOGGED
    assert "type 0" in caplog.text


def test_the_node() -> None:
    node = node_of(DiscoveryRequest(node={"id": "x" * 1024, "user_agent_name": "envoy"}), None)
    assert (len(node.id), node.kind) == (1024, ENVOY)
    assert node_of(DiscoveryRequest(node={}), None).id == ""
    with pytest.raises(InvalidField, match=r"^node: "):
        node_of(DiscoveryRequest(), None)
    with pytest.raises(InvalidField, match=r"^node\.id: "):
        node_of(DiscoveryRequest(node={"id": "x" * 1025}), None)
