from __future__ import annotations

from typing import Any

import pytest
from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import UpstreamTlsContext
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from sira.registry.v1.circuit_breakers_pb2 import CircuitBreakers
from sira.registry.v1.outlier_detection_pb2 import FailurePercentage, OutlierDetection
from sira.registry.v1.retry_policy_pb2 import RetryOn, RetryPolicy
from sira.registry.v1.session_affinity_pb2 import SessionAffinity
from sira.registry.v1.traffic_policy_pb2 import TlsMode

from sira_grpc.xds import clusters
from sira_grpc.xds.node import C_CORE, ENVOY, GO, JAVA, NODE_JS, UNKNOWN, Inbound, Node
from tests.unit.xds.mesh import Mesh

NAME = "web.default"
GRPC = [C_CORE, GO, JAVA, NODE_JS, UNKNOWN]
KINDS = [*GRPC, ENVOY]


def built(mesh: Mesh, kind: Any, name: str = NAME) -> Any:
    made = clusters.build(mesh.world, name, Node("n", kind=kind))
    assert made is not None
    return made


def bounds(made: Any) -> dict[str, int]:
    if not made.HasField("circuit_breakers"):
        return {}
    (thresholds,) = made.circuit_breakers.thresholds
    return {field.name: value.value for field, value in thresholds.ListFields() if field.name != "priority"}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", [NAME, f"{NAME}|version=v2"])
def test_endpoints_come_over_ads(kind: Any, name: str) -> None:
    mesh = Mesh()
    mesh.service()
    made = built(mesh, kind, name)
    assert made.name == name
    assert made.type == Cluster.DiscoveryType.EDS
    assert made.eds_cluster_config.service_name == name
    assert made.eds_cluster_config.eds_config.HasField("ads")
    assert not made.HasField("transport_socket")
    assert made.HasField("outlier_detection") == (kind == NODE_JS)
    assert not made.outlier_detection.enforcing_failure_percentage.value
    assert not made.outlier_detection.enforcing_success_rate.value
    assert not made.HasField("circuit_breakers")


@pytest.mark.parametrize(("domain", "identity", "reports"), [("", "", True), ("td", "", False), ("td", "x", True)])
def test_load_is_reported_by_who_may(domain: str, identity: str, reports: bool) -> None:
    mesh = Mesh(trust_domain=domain, load_report_interval=10)
    mesh.service()
    made = clusters.build(mesh.world, NAME, Node("n", kind=NODE_JS, identity=identity))
    assert made is not None
    assert made.HasField("lrs_server") == reports
    java = clusters.build(mesh.world, NAME, Node("n", kind=JAVA, identity=identity))
    assert java is not None
    assert java.HasField("lrs_server")


def test_no_cluster_without_a_service() -> None:
    mesh = Mesh()
    mesh.service()
    for name in ("other.default", "web", "", "web.default|x", "inbound:80"):
        for kind in KINDS:
            assert clusters.build(mesh.world, name, Node("n", kind=kind)) is None


def test_an_envoy_speaks_http2_and_does_as_it_is_told_of_health() -> None:
    mesh = Mesh()
    mesh.service()
    made = built(mesh, ENVOY)
    (packed,) = made.typed_extension_protocol_options.values()
    assert HttpProtocolOptions.FromString(packed.value).explicit_http_config.HasField("http2_protocol_options")
    assert made.common_lb_config.HasField("healthy_panic_threshold")
    assert made.common_lb_config.healthy_panic_threshold.value == 0
    assert made.ignore_health_on_host_removal


@pytest.mark.parametrize("interval", [0.0, 5.0])
def test_load_reports(interval: float) -> None:
    mesh = Mesh(load_report_interval=interval)
    mesh.service()
    for kind in GRPC:
        told = kind == JAVA or bool(interval)  # Java's circuit breakers need it
        assert built(mesh, kind).HasField("lrs_server") == told
        assert built(mesh, kind).lrs_server.HasField("self") == told
    assert not built(mesh, ENVOY).HasField("lrs_server")


def test_circuit_breakers() -> None:
    mesh = Mesh()
    mesh.service(circuit_breakers=CircuitBreakers(max_requests=7, max_connections=3))
    for kind in GRPC:
        assert bounds(built(mesh, kind)) == {"max_requests": 7}
    assert bounds(built(mesh, ENVOY)) == {
        "max_connections": 3,
        "max_pending_requests": 1024,
        "max_requests": 7,
        "max_retries": 7,
    }
    mesh.service(circuit_breakers=CircuitBreakers())
    assert bounds(built(mesh, GO)) == {"max_requests": 1024}


def test_an_envoy_retries_all_that_a_policy_asks_for() -> None:
    mesh = Mesh()
    mesh.service(retry=RetryPolicy(retry_on=[RetryOn.RETRY_ON_UNAVAILABLE]))
    assert bounds(built(mesh, GO)) == {}
    assert bounds(built(mesh, ENVOY))["max_retries"] == 1024


def test_outlier_detection() -> None:
    mesh = Mesh()
    mesh.service(outlier_detection=OutlierDetection(failure_percentage=FailurePercentage()))
    for kind in KINDS:
        assert built(mesh, kind).outlier_detection.enforcing_failure_percentage.value == 100


def test_sessions_stay_at_endpoints_that_drain() -> None:
    mesh = Mesh()
    mesh.service(session_affinity=SessionAffinity(cookie="c"))
    for kind in KINDS:
        statuses = list(built(mesh, kind).common_lb_config.override_host_status.statuses)
        assert statuses == ([0, 1, 3] if kind in (C_CORE, ENVOY) else [])


def test_mutual_tls() -> None:
    mesh = Mesh(trust_domain="td")
    mesh.service(tls=TlsMode.TLS_MODE_MUTUAL)
    for name in (NAME, f"{NAME}|version=v2"):
        for kind in KINDS:
            context = UpstreamTlsContext.FromString(built(mesh, kind, name).transport_socket.typed_config.value)
            assert "spiffe://td/ns/default/svc/web" in str(context)


def test_inbound() -> None:
    mesh = Mesh()
    node = Node("n", kind=ENVOY, inbound=(Inbound(9000, 50051), Inbound(9001, 50052)))
    made: Any = clusters.build(mesh.world, "inbound:9001", node)
    assert made.type == Cluster.DiscoveryType.STATIC
    address = made.load_assignment.endpoints[0].lb_endpoints[0].endpoint.address.socket_address
    assert (address.address, address.port_value) == ("127.0.0.1", 50052)
    assert made.typed_extension_protocol_options
    assert min(bounds(made).values()) > 100_000
    for name in ("inbound:9002", "inbound:", "inbound:x"):
        assert clusters.build(mesh.world, name, node) is None
