from __future__ import annotations

from dataclasses import replace

from envoy.config.route.v3.route_components_pb2 import VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.extensions.filters.http.stateful_session.v3.stateful_session_pb2 import StatefulSessionPerRoute

from sira_grpc.xds import routes
from sira_grpc.xds.http_filters import FAULT, SESSION
from sira_grpc.xds.node import GO, Node
from sira_grpc.xds.world import World
from tests.unit.xds.policies import BANK, CART, ECHO, ENVOY_NODE, PYTHON, policed, service, world

GO_NODE = Node(id="go", kind=GO)
AFFINITY = 'session_affinity { cookie: "cart" }'
FAULTY = "fault { abort { code: 14 percent: 1 } } routes { fault { abort { code: 13 percent: 1 } } } routes {}"


def built(where: World, name: str = "echo.shop", node: Node = PYTHON) -> RouteConfiguration:
    told = routes.build(where, name, node)
    assert told is not None
    message = RouteConfiguration.FromString(told) if isinstance(told, bytes) else told
    assert message.name == name
    return message


def host(policy: str, node: Node = PYTHON) -> VirtualHost:
    (told,) = built(world(policed(policy)), node=node).virtual_hosts
    return told


def test_a_service_has_one_host_for_whatever_the_client_calls_it() -> None:
    told = host("")
    assert told.name == "echo.shop"
    assert list(told.domains) == ["*"]
    (default,) = told.routes
    assert (default.name, default.match.prefix, default.route.cluster) == ("default", "/", "echo.shop")


def test_routes_are_in_order_and_the_default_is_last() -> None:
    told = host("""
        routes { matches { path_exact: "/a.B/C" } matches { path_exact: "/a.B/D" } }
        routes { matches { path_prefix: "/a.B/" } }
    """)
    assert [(each.name, each.match.path or each.match.prefix) for each in told.routes] == [
        ("routes[0]", "/a.B/C"),
        ("routes[0]", "/a.B/D"),
        ("routes[1]", "/a.B/"),
        ("default", "/"),
    ]


def test_there_are_no_routes_of_what_is_no_service() -> None:
    where = world(service())
    for name in ("other.shop", "echo", "echo.shop.x", "", "Echo.shop", "echo.shop|version=v2", "egress"):
        assert routes.build(where, name, PYTHON) is None, name


def test_faults_of_the_policy_are_those_of_the_host_and_a_route_may_have_others() -> None:
    told = host(FAULTY)

    def code(config: dict[str, object]) -> int:
        fault = HTTPFault()
        assert config[FAULT].Unpack(fault)  # type: ignore[attr-defined]  # untyped map
        return int(fault.abort.grpc_status)

    assert code(told.typed_per_filter_config) == 14
    assert [code(each.typed_per_filter_config) for each in told.routes if each.typed_per_filter_config] == [13]


def test_sessions_are_kept_by_kinds_that_can() -> None:
    for node in (PYTHON, ENVOY_NODE):
        config = StatefulSessionPerRoute()
        assert host(AFFINITY, node).typed_per_filter_config[SESSION].Unpack(config)
        assert config.stateful_session.session_state.name == "envoy.http.stateful_session.cookie"
    assert not host(AFFINITY, GO_NODE).typed_per_filter_config


def test_only_an_envoy_mirrors() -> None:
    policy = 'mirror { destination { version: "v2" } percent: 1 }'
    assert [each.cluster for each in host(policy, ENVOY_NODE).request_mirror_policies] == ["echo.shop|version=v2"]
    assert not host(policy).request_mirror_policies


def test_an_envoy_may_ask_for_the_routes_of_one_service() -> None:
    assert list(host("", ENVOY_NODE).domains) == ["*"]


EVERY = world(service(), service(CART), service(BANK))


def test_an_egress_has_every_service_and_short_names_of_its_own_namespace() -> None:
    told = built(EVERY, "egress", ENVOY_NODE)
    assert [(each.name, list(each.domains)) for each in told.virtual_hosts] == [
        ("bank.pay", ["bank.pay"]),
        ("cart.shop", ["cart.shop", "cart"]),
        ("echo.shop", ["echo.shop", "echo"]),
        ("*", ["*"]),
    ]
    assert told.ignore_port_in_host_matching


def test_an_egress_may_be_for_some_services() -> None:
    node = replace(ENVOY_NODE, upstreams=frozenset({BANK, "namespaces/shop/services/gone"}))
    assert [each.name for each in built(EVERY, "egress", node).virtual_hosts] == ["bank.pay", "*"]


def test_calls_to_what_is_no_service_are_told_so() -> None:
    (nowhere,) = built(world(), "egress", ENVOY_NODE).virtual_hosts
    (answer,) = nowhere.routes
    assert answer.direct_response.status == 503, "an Envoy answers with UNAVAILABLE for it"
    assert "%REQ(:AUTHORITY)%" in answer.direct_response.body_format.text_format_source.inline_string


def test_no_egress_without_a_port_for_it() -> None:
    assert routes.build(EVERY, "egress", replace(ENVOY_NODE, egress_port=0)) is None


def test_the_same_world_gives_the_same_bytes() -> None:
    policies = policed(f"{FAULTY} {AFFINITY}"), service(CART), service(BANK)
    forward, backward = world(*policies), world(*reversed(policies))
    for name, node in (("egress", ENVOY_NODE), ("echo.shop", PYTHON)):
        one, other = (built(where, name, node).SerializeToString(deterministic=True) for where in (forward, backward))
        assert one == other
    assert routes.build(forward, "egress", ENVOY_NODE) == routes.build(backward, "egress", ENVOY_NODE)


def test_an_egress_has_of_each_service_what_it_has_now() -> None:
    def counts(policy: str) -> list[int]:
        return [
            len(each.routes)
            for each in built(world(policed(policy), service(CART)), "egress", ENVOY_NODE).virtual_hosts
        ]

    assert [counts("routes {}"), counts(""), counts("routes {}")] == [[1, 2, 1], [1, 1, 1], [1, 2, 1]]


def test_a_service_may_be_called_egress() -> None:
    where = world(service("namespaces/shop/services/egress"), service(ECHO))
    assert built(where, "egress.shop", PYTHON).virtual_hosts[0].name == "egress.shop"
    assert "egress" in built(where, "egress", ENVOY_NODE).virtual_hosts[1].domains
