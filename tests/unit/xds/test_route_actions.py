from __future__ import annotations

from datetime import timedelta

import pytest
from envoy.config.route.v3.route_components_pb2 import RouteAction
from sira.registry.v1.route_pb2 import Route

from sira_grpc.xds.node import C_CORE, GO, Node
from sira_grpc.xds.route_actions import EARLY, route_action
from tests.unit.xds.policies import CART, ENVOY_NODE, policed

GO_NODE = Node(id="go", kind=GO)
PYTHON = Node(id="python", kind=C_CORE)
BY_ROUTE = "routes { timeout { seconds: 1 } retry { max_attempts: 5 retry_on: RETRY_ON_CANCELLED } }"


def action(policy: str, node: Node = GO_NODE, *, default: bool = False) -> RouteAction:
    """Returns the action of the first route of a policy, or of its default route."""
    service = policed(policy)
    return route_action(service, Route() if default else service.traffic_policy.routes[0], node)


def shares(told: RouteAction) -> dict[str, int]:
    return {each.name: each.weight.value for each in told.weighted_clusters.clusters}


def test_calls_go_to_the_service_itself() -> None:
    assert action("", default=True).cluster == "echo.shop"
    assert action("routes {}").cluster == "echo.shop"


def test_splits_are_weighted() -> None:
    told = action(f"""routes {{
        splits {{ weight: 3 }}
        splits {{ weight: 1 destination {{ version: "v2" metadata {{ key: "tier" value: "a|b" }} }} }}
        splits {{ weight: 2 destination {{ service: "{CART}" }} }}
    }}""")
    assert shares(told) == {"echo.shop": 3, "echo.shop|version=v2|tier=a%7Cb": 1, "cart.shop": 2}


def test_splits_of_no_weight_are_left_out() -> None:
    told = action('routes { splits { weight: 0 } splits { weight: 7 destination { version: "v2" } } }')
    assert told.cluster == "echo.shop|version=v2"


def test_two_splits_to_the_same_are_one() -> None:
    told = action("""routes {
        splits { weight: 1 } splits { weight: 2 destination { version: "v2" } }
        splits { weight: 4 destination { version: "v2" } }
    }""")
    assert shares(told) == {"echo.shop": 1, "echo.shop|version=v2": 6}


def test_the_largest_weights_stay_below_what_clients_take() -> None:
    splits = " ".join(f'splits {{ weight: 1000000 destination {{ version: "v{n}" }} }}' for n in range(32))
    assert sum(shares(action(f"routes {{ {splits} }}")).values()) < 2**32


def test_a_route_has_the_bound_of_the_policy_unless_it_has_its_own() -> None:
    assert bounds(action(f"timeout {{ seconds: 9 }} {BY_ROUTE}")) == {1.0}
    assert bounds(action("timeout { seconds: 9 } routes {}")) == {9.0}
    assert bounds(action("timeout { seconds: 9 }", default=True)) == {9.0}
    assert not action("routes {}").HasField("max_stream_duration")


def bounds(told: RouteAction) -> set[float]:
    duration = told.max_stream_duration
    both = (duration.max_stream_duration, duration.grpc_timeout_header_max)
    return {each.ToTimedelta().total_seconds() for each in both}


def test_c_core_is_told_of_more_because_it_ends_calls_early() -> None:
    assert {C_CORE: timedelta(seconds=2)} == EARLY
    assert bounds(action("timeout { nanos: 500000000 } routes {}", PYTHON)) == {2.5}
    assert not action("routes {}", PYTHON).HasField("max_stream_duration")


def test_an_envoy_bounds_streams_not_answers() -> None:
    told = action("timeout { seconds: 9 } routes {}", ENVOY_NODE)
    assert bounds(told) == {9.0}
    assert told.HasField("timeout")
    assert not told.timeout.ToTimedelta(), "its own default would be 15 s"
    assert not action("routes {}").HasField("timeout")


def test_a_route_has_the_retries_of_the_policy_unless_it_has_its_own() -> None:
    """On each route: gRPC for Java does not look at those of the virtual host."""
    policy = "retry { max_attempts: 3 retry_on: RETRY_ON_UNAVAILABLE }"
    assert action(f"{policy} {BY_ROUTE}").retry_policy.num_retries.value == 4
    assert action(f"{policy} routes {{}}").retry_policy.num_retries.value == 2
    assert action(policy, default=True).retry_policy.num_retries.value == 2
    assert not action("routes {}").HasField("retry_policy")
    assert "refused-stream" in action("routes {}", ENVOY_NODE).retry_policy.retry_on


@pytest.mark.parametrize(
    ("policy", "header"),
    [
        ('lb_policy: LB_POLICY_RING_HASH hash_header: "user" routes {}', "user"),
        ("lb_policy: LB_POLICY_RING_HASH routes {}", "sira-hash-key"),
        (f'routes {{ splits {{ weight: 1 destination {{ service: "{CART}" }} }} }}', "sira-hash-key"),
        ('routes { splits { weight: 1 destination { version: "v2" } } }', ""),
        ('hash_header: "user" routes {}', ""),
    ],
    ids=["named", "default", "another service may hash", "own subset", "nothing hashes"],
)
def test_what_is_hashed(policy: str, header: str) -> None:
    assert [each.header.header_name for each in action(policy).hash_policy] == ([header] if header else [])


def test_an_envoy_mirrors() -> None:
    policy = 'routes { mirror { destination { version: "v2" } percent: 0.5 } }'
    (mirror,) = action(policy, ENVOY_NODE).request_mirror_policies
    assert mirror.cluster == "echo.shop|version=v2"
    assert mirror.runtime_fraction.default_value.numerator == 5_000
    assert mirror.disable_shadow_host_suffix_append
    assert not action(policy).request_mirror_policies
