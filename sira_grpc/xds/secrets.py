"""Secrets: the roots that Envoys verify the other side by. Private keys never pass through here."""

from __future__ import annotations

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret

from sira_grpc.xds.names import TRUST
from sira_grpc.xds.node import Node
from sira_grpc.xds.world import World


def build(world: World, name: str, node: Node) -> Secret | None:
    """Returns the secret of a name; None if there is none: no other name, or no roots."""
    roots = world.roots() if name == TRUST else b""
    if not roots:
        return None
    context = CertificateValidationContext(trusted_ca=DataSource(inline_bytes=roots))
    return Secret(name=name, validation_context=context)
