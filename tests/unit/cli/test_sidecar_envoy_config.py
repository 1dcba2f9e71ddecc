"""The bootstrap of an Envoy: what it says, and that Envoy and the kernel read it."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
from envoy.config.core.v3.base_pb2 import Node
from google.protobuf.json_format import ParseDict

from sira_grpc.cli.sidecar.envoy_config import BootstrapTerms, envoy_bootstrap
from sira_grpc.xds.node import Inbound, read_node
from tests.integration.envoy import ENVOY, needs_envoy

CHECKOUT, PAY = "namespaces/shop/services/checkout", "namespaces/money/services/pay"


def terms(**changed: Any) -> BootstrapTerms:
    given: dict[str, Any] = {"service": CHECKOUT, "node_id": "one", "kernel": ["127.0.0.1:7400"], **changed}
    return BootstrapTerms(**given)


def kernel(**changed: Any) -> dict[str, Any]:
    cluster: dict[str, Any] = envoy_bootstrap(terms(**changed))["static_resources"]["clusters"][0]
    return cluster


KINDS: dict[str, dict[str, Any]] = {
    "plaintext": {},
    "a Unix socket": {"kernel": ["unix:/run/sira.sock"]},
    "names": {"kernel": ["a.example:7400", "[::1]:7400"]},
    "with an identity": {"trust_domain": "example.org", "sds_socket": "/run/sds.sock"},
    "all of it": {
        "inbound": [Inbound(15006, 50051), Inbound(15007, 50052)],
        "egress_port": 15001,
        "upstreams": [PAY],
        "admin": "unix:/tmp/admin.sock",
        "region": "eu",
        "zone": "eu-1",
        "delta": False,
    },
    "for nobody": {"service": "", "namespace": "shop"},
}
every_kind = pytest.mark.parametrize("changed", KINDS.values(), ids=KINDS.keys())


@needs_envoy
@every_kind
def test_envoy_takes_it(tmp_path: Path, changed: dict[str, Any]) -> None:
    path = tmp_path / "envoy.json"
    path.write_text(json.dumps(envoy_bootstrap(terms(**changed))))
    line = [str(ENVOY), "--mode", "validate", "--log-level", "warning", "--config-path", str(path)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert not done.stderr.strip(), "no deprecated field, no limit that is missing"


def test_the_kernel_reads_who_it_is() -> None:
    changed = KINDS["all of it"]
    node = read_node(ParseDict(envoy_bootstrap(terms(**changed))["node"], Node()), None)
    assert (node.id, node.service, node.namespace) == ("one", CHECKOUT, "shop")
    assert node.inbound == (Inbound(15006, 50051), Inbound(15007, 50052))
    assert node.upstreams == {PAY}
    assert node.egress_port == 15001
    assert (node.region, node.zone) == ("eu", "eu-1")
    nobody = read_node(ParseDict(envoy_bootstrap(terms(service="", namespace="shop"))["node"], Node()), None)
    assert (nobody.service, nobody.namespace, nobody.inbound) == ("", "shop", ())


def test_it_is_told_changes_or_the_state() -> None:
    assert envoy_bootstrap(terms())["dynamic_resources"]["ads_config"]["api_type"] == "DELTA_GRPC"
    assert envoy_bootstrap(terms(delta=False))["dynamic_resources"]["ads_config"]["api_type"] == "GRPC"


def test_names_are_looked_up_and_addresses_are_not() -> None:
    assert kernel()["type"] == "STATIC"
    assert kernel(kernel=["unix:/run/sira.sock"])["type"] == "STATIC"
    named = kernel(kernel=["a.example:7400", "[::1]:7400"])
    assert named["type"] == "STRICT_DNS"
    (group,) = named["load_assignment"]["endpoints"]
    addresses = [each["endpoint"]["address"]["socket_address"] for each in group["lb_endpoints"]]
    assert addresses == [{"address": "a.example", "port_value": 7400}, {"address": "::1", "port_value": 7400}]


def test_the_kernel_must_prove_to_be_one() -> None:
    assert "transport_socket" not in kernel()
    tls = kernel(trust_domain="example.org", sds_socket="/run/sds.sock")["transport_socket"]["typed_config"]
    assert tls["sni"] == "kernel.example.org"
    common = tls["common_tls_context"]
    validation = common["combined_validation_context"]
    (name,) = validation["default_validation_context"]["match_typed_subject_alt_names"]
    assert name == {"san_type": "DNS", "matcher": {"exact": "kernel.example.org"}}
    assert validation["validation_context_sds_secret_config"]["name"] == "trust"
    (own,) = common["tls_certificate_sds_secret_configs"]
    assert own["name"] == "identity"


def test_there_is_no_administration_unless_it_is_asked_for() -> None:
    assert "admin" not in envoy_bootstrap(terms())
    admin = envoy_bootstrap(terms(admin="127.0.0.1:9901"))["admin"]
    assert admin == {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 9901}}}


def test_what_is_missing_is_named() -> None:
    with pytest.raises(ValueError, match="kernel: there must be one"):
        terms(kernel=[])
    with pytest.raises(ValueError, match="sds_socket: is needed"):
        terms(trust_domain="example.org")
    with pytest.raises(ValueError, match="'nowhere' must be host:port"):
        envoy_bootstrap(terms(kernel=["nowhere"]))
