"""The bootstrap of an Envoy whose listeners, routes, clusters and endpoints a kernel gives."""

from __future__ import annotations

import ipaddress
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sira_client.addresses import split

from sira_grpc.xds import names
from sira_grpc.xds.node import Inbound

KERNEL, SDS = "kernel", "sds"
"""Names of the static clusters: the kernel, and whoever gives secrets on this host."""
IDENTITY, TRUST = "identity", names.TRUST
"""Names of the secrets: certificate and key of the service, and the roots of its trust domain."""
MAX_CONNECTIONS = 50_000
"""Connections from below that an Envoy has at the same time."""

_TYPE = "type.googleapis.com/envoy"
_HTTP2 = {
    "explicit_http_config": {
        # Without pings, a connection to a machine that is gone looks well until TCP gives up.
        "http2_protocol_options": {"connection_keepalive": {"interval": "30s", "timeout": "5s"}}
    }
}
_RETRY = {"retry_back_off": {"base_interval": "0.25s", "max_interval": "5s"}}
"""How an Envoy comes back to a kernel that is away; each pause is a random part of what is said here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BootstrapTerms:
    """What a bootstrap says.

    Attributes:
        service: resource name of the service that Envoy runs for; empty for none.
        node_id: what Envoy calls itself: another one for each.
        kernel: `host:port` of the kernel's members, or `unix:path`.
        admin: where Envoy's administration is: `host:port` or `unix:path`; empty for none. Whoever gets there may stop
            it.
        inbound: ports of the service.
        egress_port: loopback port for calls to other services; 0 for none.
        upstreams: resource names of the services that are called; empty for all.
        namespace: id of the namespace of short names, where there is no service.
        region, zone: where it runs; empty for unknown.
        trust_domain: of the identities; empty for plaintext to the kernel.
        sds_socket: path of the Unix socket where secrets are had; needed with a trust domain.
        delta: whether to be told changes only, and not the state of the world.
    """

    service: str
    node_id: str
    kernel: Sequence[str]
    admin: str = ""
    inbound: Sequence[Inbound] = ()
    egress_port: int = 0
    upstreams: Sequence[str] = ()
    namespace: str = ""
    region: str = ""
    zone: str = ""
    trust_domain: str = ""
    sds_socket: str = ""
    delta: bool = True

    def __post_init__(self) -> None:
        """Checks what goes together.

        Raises:
            ValueError: a part is missing; names it and the rule.
        """
        if not self.kernel:
            raise ValueError("kernel: there must be one address at least")
        if self.trust_domain and not self.sds_socket:
            raise ValueError("sds_socket: is needed with a trust domain")


def envoy_bootstrap(terms: BootstrapTerms) -> dict[str, Any]:
    """Returns the bootstrap, in the JSON mapping of `envoy.config.bootstrap.v3.Bootstrap`.

    Raises:
        ValueError: an address is malformed.
    """
    stream = {"envoy_grpc": {"cluster_name": KERNEL, "retry_policy": _RETRY}}
    # For ever: what has not been told yet by a kernel that is away must not pass for what is not there.
    told = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
    clusters = [_kernel(terms), *([_sds(terms.sds_socket)] if terms.sds_socket else [])]
    return {
        "node": _node(terms),
        **({"admin": {"address": _address(terms.admin)}} if terms.admin else {}),
        "static_resources": {"clusters": clusters},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "DELTA_GRPC" if terms.delta else "GRPC",
                "transport_api_version": "V3",
                "set_node_on_first_message_only": True,
                "grpc_services": [stream],
            },
            "cds_config": told,
            "lds_config": told,
        },
        "overload_manager": _connection_limit(),
    }


def sds_config(secret: str) -> dict[str, Any]:
    """Returns where an Envoy with such a bootstrap has a secret from, as `SdsSecretConfig`."""
    source = {
        "api_type": "GRPC",
        "transport_api_version": "V3",
        "set_node_on_first_message_only": True,
        "grpc_services": [{"envoy_grpc": {"cluster_name": SDS, "retry_policy": _RETRY}}],
    }
    return {"name": secret, "sds_config": {"api_config_source": source, "resource_api_version": "V3"}}


def _node(terms: BootstrapTerms) -> dict[str, Any]:
    told: dict[str, Any] = {
        "namespace": terms.namespace or (terms.service.split("/")[1] if terms.service else ""),
        "inbound": [{"port": each.port, "target_port": each.target_port} for each in terms.inbound],
        "upstreams": [names.short(service) for service in terms.upstreams],
        "egress_port": terms.egress_port,
    }
    return {
        "id": terms.node_id,
        "cluster": names.short(terms.service) if terms.service else "sira",
        "locality": {key: value for key, value in (("region", terms.region), ("zone", terms.zone)) if value},
        "metadata": {"sira": {key: value for key, value in told.items() if value}},
    }


def _kernel(terms: BootstrapTerms) -> dict[str, Any]:
    cluster: dict[str, Any] = {
        "name": KERNEL,
        "type": "STATIC" if all(map(_literal, terms.kernel)) else "STRICT_DNS",
        "connect_timeout": "3s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                **_HTTP2,
            }
        },
        "load_assignment": _assignment(KERNEL, terms.kernel),
    }
    if terms.trust_domain:
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": f"{_TYPE}.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
                "sni": f"{KERNEL}.{terms.trust_domain}",
                "common_tls_context": _kernel_tls(terms.trust_domain),
            },
        }
    return cluster


def _kernel_tls(trust_domain: str) -> dict[str, Any]:
    # The name that every member's certificate holds, whatever its address is: as the other clients check it.
    member = {"san_type": "DNS", "matcher": {"exact": f"{KERNEL}.{trust_domain}"}}
    return {
        "alpn_protocols": ["h2"],
        # A kernel takes nothing older, and an Envoy that connects offers 1.2 unless it is told otherwise.
        "tls_params": {"tls_maximum_protocol_version": "TLSv1_3"},
        "tls_certificate_sds_secret_configs": [sds_config(IDENTITY)],
        "combined_validation_context": {
            "default_validation_context": {"match_typed_subject_alt_names": [member]},
            "validation_context_sds_secret_config": sds_config(TRUST),
        },
    }


def _sds(socket: str) -> dict[str, Any]:
    return {
        "name": SDS,
        "type": "STATIC",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": _assignment(SDS, [f"unix:{socket}"]),
    }


def _assignment(cluster: str, addresses: Sequence[str]) -> dict[str, Any]:
    endpoints = [{"endpoint": {"address": _address(address)}} for address in addresses]
    return {"cluster_name": cluster, "endpoints": [{"lb_endpoints": endpoints}]}


def _address(address: str) -> dict[str, Any]:
    if address.startswith("unix:"):
        return {"pipe": {"path": address.removeprefix("unix:"), "mode": 0o600}}
    host, port = split(address)
    return {"socket_address": {"address": host, "port_value": port}}


def _literal(address: str) -> bool:
    """Whether nothing has to be looked up to connect to an address."""
    if address.startswith("unix:"):
        return True
    try:
        ipaddress.ip_address(split(address)[0])
    except ValueError:
        return False
    return True


def _connection_limit() -> dict[str, Any]:
    limit = "envoy.resource_monitors.global_downstream_max_connections"
    settings = f"{_TYPE}.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig"
    configured = {"@type": settings, "max_active_downstream_connections": MAX_CONNECTIONS}
    return {"resource_monitors": [{"name": limit, "typed_config": configured}]}
