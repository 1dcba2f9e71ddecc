from __future__ import annotations

import pytest
from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import SubjectAltNameMatcher
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import DownstreamTlsContext, UpstreamTlsContext
from sira.xds.v1.client_pb2 import ClientKind

from sira_grpc.errors import InvalidField
from sira_grpc.xds import tls
from sira_grpc.xds.node import Node
from sira_grpc.xds.world import World
from tests.unit.xds.policies import BANK, ECHO, ENVOY_NODE, GRPC, MUTUAL, PYTHON, TRUST_DOMAIN, service, world

SPIFFE_ID = "spiffe://example.org/ns/shop/svc/echo"
SECURED = world(service(text=MUTUAL), service(BANK), trust_domain=TRUST_DOMAIN)


def upstream(socket: TransportSocket | None) -> UpstreamTlsContext:
    assert socket is not None
    assert socket.name == "envoy.transport_sockets.tls"
    context = UpstreamTlsContext()
    assert socket.typed_config.Unpack(context)
    return context


def downstream(socket: TransportSocket | None) -> DownstreamTlsContext:
    assert socket is not None
    context = DownstreamTlsContext()
    assert socket.typed_config.Unpack(context)
    return context


@pytest.mark.parametrize("kind", GRPC)
def test_clients_of_grpc_have_certificates_from_the_provider_and_take_only_the_service(
    kind: ClientKind.ValueType,
) -> None:
    context = upstream(tls.upstream(SECURED, ECHO, Node(id="n", kind=kind)))

    common = context.common_tls_context
    validation = common.combined_validation_context.default_validation_context
    assert common.tls_certificate_provider_instance.instance_name == "default"
    assert validation.ca_certificate_provider_instance.instance_name == "default"
    assert [name.exact for name in validation.match_subject_alt_names] == [SPIFFE_ID]
    # Each of these has some client reject the cluster.
    assert not context.sni
    assert not common.alpn_protocols
    assert not common.tls_certificate_sds_secret_configs
    assert not common.combined_validation_context.HasField("validation_context_sds_secret_config")


def test_an_envoy_has_its_secrets_from_its_own_sds() -> None:
    context = upstream(tls.upstream(SECURED, ECHO, ENVOY_NODE))

    common = context.common_tls_context
    combined = common.combined_validation_context
    (name,) = combined.default_validation_context.match_typed_subject_alt_names
    assert [each.name for each in common.tls_certificate_sds_secret_configs] == ["identity"]
    assert combined.validation_context_sds_secret_config.name == "trust"
    source = combined.validation_context_sds_secret_config.sds_config.api_config_source
    assert source.grpc_services[0].envoy_grpc.cluster_name == "sds"
    assert (name.san_type, name.matcher.exact) == (SubjectAltNameMatcher.SanType.URI, SPIFFE_ID)
    assert context.sni == "echo.shop"
    assert list(common.alpn_protocols) == ["h2"]
    assert not common.HasField("tls_certificate_provider_instance")


@pytest.mark.parametrize("node", [PYTHON, ENVOY_NODE])
def test_servers_want_certificates_of_their_callers_whoever_they_are(node: Node) -> None:
    context = downstream(tls.downstream(SECURED, node))

    validation = context.common_tls_context.combined_validation_context.default_validation_context
    assert context.require_client_certificate.value
    # A server of gRPC rejects names to match; and Java the field `require_sni`, whatever is in it.
    assert not validation.match_subject_alt_names
    assert not validation.match_typed_subject_alt_names
    assert not context.HasField("require_sni")


@pytest.mark.parametrize("node", [PYTHON, ENVOY_NODE])
@pytest.mark.parametrize(
    ("where", "name"),
    [
        (SECURED, BANK),
        (SECURED, "namespaces/shop/services/nobody"),
        (SECURED, ""),
        (world(service(text=MUTUAL)), ECHO),
    ],
    ids=["not asked for", "unknown service", "no service", "no identities"],
)
def test_no_tls(where: World, name: str, node: Node) -> None:
    assert tls.upstream(where, name, node) is None
    assert tls.downstream(where, Node(id="n", kind=node.kind, service=name)) is None


def test_certificates_need_identities() -> None:
    with pytest.raises(InvalidField) as raised:
        tls.check(service(text=MUTUAL), "")
    assert [each.field for each in raised.value.violations] == ["service.traffic_policy.tls"]

    tls.check(service(text=MUTUAL), TRUST_DOMAIN)
    tls.check(service(), "")
