from __future__ import annotations

from sira_grpc.xds import secrets
from sira_grpc.xds.node import ENVOY, Node
from tests.unit.xds.mesh import Mesh

NODE = Node("n", kind=ENVOY)


def test_trust_has_the_roots_and_no_key() -> None:
    made = secrets.build(Mesh(trust_domain="td").world, "trust", NODE)
    assert made is not None
    assert made.name == "trust"
    assert made.validation_context.trusted_ca.inline_bytes == b"-roots-"
    assert made.WhichOneof("type") == "validation_context"


def test_there_is_no_other() -> None:
    assert secrets.build(Mesh(trust_domain="td").world, "identity", NODE) is None
    assert secrets.build(Mesh().world, "trust", NODE) is None
