"""TLS contexts: which certificates the two ends of a connection show, and which of the other end they take.

The clients and servers of gRPC have theirs from the certificate provider `default` of their bootstrap; Envoys from the
secrets `identity` and `trust`, which the SDS cluster of their bootstrap serves: private keys never pass through here.
Sources: gRFC A29; Envoy's documentation of SDS.
"""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import TransportSocket
from envoy.config.core.v3.config_source_pb2 import ApiConfigSource, ApiVersion, ConfigSource
from envoy.config.core.v3.grpc_service_pb2 import GrpcService
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import (
    CertificateProviderPluginInstance,
    CertificateValidationContext,
    SubjectAltNameMatcher,
    TlsParameters,
)
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import SdsSecretConfig
from envoy.extensions.transport_sockets.tls.v3.tls_pb2 import CommonTlsContext, DownstreamTlsContext, UpstreamTlsContext
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from google.protobuf.message import Message
from google.protobuf.wrappers_pb2 import BoolValue
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import TlsMode

from sira_grpc.errors import FieldViolation, InvalidField
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.xds.names import TRUST, short
from sira_grpc.xds.node import Node
from sira_grpc.xds.packing import packed
from sira_grpc.xds.world import World

IDENTITY = "identity"
"""Name of the secret with an Envoy's own certificate and key."""
SDS = "sds"
"""Name of the cluster in the bootstrap of an Envoy that serves its secrets."""
PROVIDER = "default"
"""Name of the certificate provider in the bootstrap of a client of gRPC."""
SOCKET = "envoy.transport_sockets.tls"

_HTTP2 = "h2"


def mutual(world: World, service: str) -> bool:
    """Whether both ends of connections to a service show certificates: its policy says so, and there are identities."""
    entry = world.view.services.get(service)
    policy_says = entry is not None and entry.message.traffic_policy.tls == TlsMode.TLS_MODE_MUTUAL
    return policy_says and bool(world.trust_domain)


def check(service: Service, trust_domain: str) -> None:
    """Makes sure that there are identities if the policy of a service asks for certificates: it would be in plaintext.

    Raises:
        InvalidField: there are none.
    """
    if service.traffic_policy.tls == TlsMode.TLS_MODE_MUTUAL and not trust_domain:
        rule = "TLS_MODE_MUTUAL needs identities, and this kernel issues none"
        raise InvalidField([FieldViolation("service.traffic_policy.tls", rule)])


def spiffe_id(world: World, service: str) -> str:
    """Returns the SPIFFE ID of a service."""
    return str(SpiffeId(world.trust_domain, ("ns", service.split("/")[1], "svc", service.split("/")[3])))


def upstream(world: World, service: str, node: Node) -> TransportSocket | None:
    """Returns how a client connects to the endpoints of a service; None for as it is set up.

    It takes no certificate but one of the service's SPIFFE ID.
    """
    if not mutual(world, service):
        return None
    identity = StringMatcher(exact=spiffe_id(world, service))
    if not node.envoy:
        context = UpstreamTlsContext(common_tls_context=_provided([identity]))
        return _socket(context)
    common = _from_sds([SubjectAltNameMatcher(san_type=SubjectAltNameMatcher.SanType.URI, matcher=identity)])
    common.alpn_protocols.append(_HTTP2)
    return _socket(UpstreamTlsContext(common_tls_context=common, sni=short(service)))


def downstream(world: World, node: Node) -> TransportSocket | None:
    """Returns how a server, or the inbound side of a sidecar, takes connections; None for in plaintext.

    It takes every certificate of the trust domain: who may call what is up to the RBAC filter.
    """
    if not mutual(world, node.service):
        return None
    common = _from_sds([]) if node.envoy else _provided([])
    if node.envoy:
        common.alpn_protocols.append(_HTTP2)
    return _socket(DownstreamTlsContext(common_tls_context=common, require_client_certificate=BoolValue(value=True)))


def _provided(names: list[StringMatcher]) -> CommonTlsContext:
    """Returns a context with the certificates of the provider in the bootstrap.

    The matchers are in the field that gRPC reads: it has never read the typed ones that replace it in Envoy.
    """
    instance = CertificateProviderPluginInstance(instance_name=PROVIDER)
    validation = CertificateValidationContext(ca_certificate_provider_instance=instance, match_subject_alt_names=names)
    return CommonTlsContext(
        tls_certificate_provider_instance=instance,
        combined_validation_context=CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=validation
        ),
    )


def _from_sds(names: list[SubjectAltNameMatcher]) -> CommonTlsContext:
    return CommonTlsContext(
        # By itself, an Envoy that connects goes no further than 1.2, which a server may refuse.
        tls_params=TlsParameters(
            tls_minimum_protocol_version=TlsParameters.TlsProtocol.TLSv1_2,
            tls_maximum_protocol_version=TlsParameters.TlsProtocol.TLSv1_3,
        ),
        tls_certificate_sds_secret_configs=[_secret(IDENTITY)],
        combined_validation_context=CommonTlsContext.CombinedCertificateValidationContext(
            default_validation_context=CertificateValidationContext(match_typed_subject_alt_names=names),
            validation_context_sds_secret_config=_secret(TRUST),
        ),
    )


def _secret(name: str) -> SdsSecretConfig:
    service = GrpcService(envoy_grpc=GrpcService.EnvoyGrpc(cluster_name=SDS))
    source = ApiConfigSource(
        api_type=ApiConfigSource.ApiType.GRPC,
        transport_api_version=ApiVersion.V3,
        grpc_services=[service],
    )
    return SdsSecretConfig(
        name=name, sds_config=ConfigSource(resource_api_version=ApiVersion.V3, api_config_source=source)
    )


def _socket(context: Message) -> TransportSocket:
    return TransportSocket(name=SOCKET, typed_config=packed(context))
