"""Coverage: which names the wildcard subscription of a client stands for."""

from __future__ import annotations

from collections.abc import Iterable

from sira_grpc.xds import names
from sira_grpc.xds.names import EGRESS, INBOUND, TRUST, Target
from sira_grpc.xds.node import Node
from sira_grpc.xds.references import References
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from sira_grpc.xds.world import World


def covered(world: World, references: References, type_url: str, node: Node) -> frozenset[str]:
    """Returns the names of all resources of a type that are for a client."""
    match type_url:
        case t if t == SECRET:
            return frozenset({TRUST}) if world.roots() else frozenset()
        case t if t == CLUSTER:
            return _clusters(world, references, node) | _inbound(node)
        case t if t == ENDPOINTS:
            return _clusters(world, references, node)
        case t if t in (LISTENER, ROUTES):
            return (_inbound(node) | _egress(node)) if node.envoy else _services(world, node)
        case _:
            return frozenset()


def _inbound(node: Node) -> frozenset[str]:
    return frozenset(f"{INBOUND}{each.port}" for each in node.inbound) if node.envoy else frozenset()


def _egress(node: Node) -> frozenset[str]:
    return frozenset({EGRESS}) if node.egress_port else frozenset()


def _visible(world: World, node: Node) -> Iterable[str]:
    services = world.view.services
    return (name for name in node.upstreams if name in services) if node.upstreams else services


def _services(world: World, node: Node) -> frozenset[str]:
    return frozenset(map(names.short, _visible(world, node)))


def _clusters(world: World, references: References, node: Node) -> frozenset[str]:
    """Returns the clusters of the services that a client calls, and of all that their policies send calls to."""
    targets: set[Target] = set()
    for name in _visible(world, node):
        targets.add(Target(name))
        targets.update(references.made(name))
    return frozenset(names.cluster(target) for target in targets if target.service in world.view.services)
