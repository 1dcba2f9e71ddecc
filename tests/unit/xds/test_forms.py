from __future__ import annotations

from sira_grpc.xds import forms
from sira_grpc.xds.names import Target
from sira_grpc.xds.type_urls import CLUSTER, LISTENER
from tests.unit.xds.mesh import API, WEB

LISTENERS = "xdstp://sira/envoy.config.listener.v3.Listener/"
CLUSTERS = "xdstp://sira/envoy.config.cluster.v3.Cluster/"


def test_of_services() -> None:
    assert forms.of_service(WEB, LISTENER) == {"web.default", "web", f"{LISTENERS}web.default", f"{LISTENERS}web"}
    assert forms.of_services([WEB, API], LISTENER) == forms.of_service(WEB, LISTENER) | forms.of_service(API, LISTENER)
    assert forms.of_services([], LISTENER) == frozenset()


def test_of_targets() -> None:
    v2 = Target(WEB, "v2")
    assert forms.of_target(v2, CLUSTER) == {"web.default|version=v2", f"{CLUSTERS}web.default|version=v2"}
    assert forms.of_targets([v2, Target(WEB)], CLUSTER) == forms.of_target(v2, CLUSTER) | forms.of(
        "web.default", CLUSTER
    )
