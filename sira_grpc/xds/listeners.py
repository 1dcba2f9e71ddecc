"""Listeners, of every kind of client, by name."""

from __future__ import annotations

from envoy.config.listener.v3.listener_pb2 import Listener

from sira_grpc.xds.api_listeners import api_listener
from sira_grpc.xds.names import SERVER
from sira_grpc.xds.node import Node
from sira_grpc.xds.server_listeners import server_listener
from sira_grpc.xds.sidecar_listeners import sidecar_listener
from sira_grpc.xds.world import World


def build(world: World, name: str, node: Node) -> Listener | None:
    """Returns a listener as a client should have it; None if there is none of that name for it."""
    if node.envoy:
        return sidecar_listener(world, name, node)
    if name.startswith(SERVER):
        return server_listener(world, name, node)
    return api_listener(world, name, node)
