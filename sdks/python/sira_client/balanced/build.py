"""Puts a balanced channel together."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

from sira.registry.v1.locality_pb2 import Locality

from sira_client.balanced.backend import Backend
from sira_client.balanced.balancer import Balancer, Caller
from sira_client.balanced.breakers import Breakers
from sira_client.balanced.channel import BalancedChannel
from sira_client.balanced.clusters import Clusters
from sira_client.balanced.hash_key import HashKey, HeaderKey
from sira_client.balanced.policy import PolicySelector
from sira_client.balancing.target import Target
from sira_client.dialing import Dial
from sira_client.routing import RetryPolicy
from sira_client.settings import Settings
from sira_client.source import Source
from sira_client.view import ServiceView


@dataclass(frozen=True, slots=True)
class World:
    """What a channel is made of.

    Attributes:
        follow: yields the states of a service, given its resource name.
        dialer: makes what opens connections to the endpoints of a service, given its resource name.
        renewed: when it changes, each connection is opened anew. None for never.
        breakers: of the client.
        settings: of the client.
    """

    follow: Callable[[str], AsyncIterator[ServiceView]]
    dialer: Callable[[str], Dial]
    renewed: Source[Any] | None
    breakers: Breakers
    settings: Settings


def build(
    service: str,
    world: World,
    *,
    locality: Locality | None,
    client_id: str,
    hash_key: HashKey | None,
    retry: RetryPolicy,
    default_timeout: float | None,
) -> BalancedChannel:
    """Opens a channel to a service, given its resource name. For the rest see Client.channel."""
    header = HeaderKey()
    caller = Caller(locality, client_id, hash_key or header)
    selectors: list[PolicySelector] = []  # none yet while the first balancer begins

    def follow(name: str) -> Backend:
        return Backend(name, lambda: world.follow(name), world.dialer(name), world.settings, world.renewed)

    def look() -> None:
        for selector in selectors:
            selector.look()

    def balance(target: Target, backend: Backend) -> Balancer:
        return Balancer(target, backend, caller, world.settings, world.breakers.of(target.cluster), look)

    clusters = Clusters(Target(service), follow, balance)
    selectors.append(PolicySelector(clusters, header, world.settings))
    return BalancedChannel(clusters, selectors[0], retry=retry, default_timeout=default_timeout)
