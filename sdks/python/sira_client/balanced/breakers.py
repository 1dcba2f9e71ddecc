"""Circuit breakers: how many calls of this client are under way to each cluster, and how many there may be."""

from __future__ import annotations

from weakref import WeakValueDictionary

from sira.registry.v1.circuit_breakers_pb2 import CircuitBreakers

from sira_client.errors import UnavailableError
from sira_client.routing.retries import DroppedError

DEFAULT_MAX_REQUESTS = 1024


class CircuitOpenError(UnavailableError, DroppedError):
    """The call was not sent: as many as there may be are under way."""


class Breaker:
    """Counts the calls to one cluster.

    Args:
        cluster: its name.
    """

    def __init__(self, cluster: str) -> None:
        self._cluster = cluster
        self.under_way = 0

    def check(self, policy: CircuitBreakers) -> None:
        """Lets a call begin.

        Raises:
            CircuitOpenError: there are too many as it is.
        """
        allowed = policy.max_requests or DEFAULT_MAX_REQUESTS
        if self.under_way >= allowed:
            raise CircuitOpenError(f"{self._cluster}: {allowed} calls are under way, which is the limit of this caller")


class Breakers:
    """The circuit breakers of a client, shared by its channels, as long as any uses them."""

    def __init__(self) -> None:
        self._breakers: WeakValueDictionary[str, Breaker] = WeakValueDictionary()

    def of(self, cluster: str) -> Breaker:
        """The breaker of a cluster."""
        found = self._breakers.get(cluster)
        if found is None:
            found = self._breakers[cluster] = Breaker(cluster)
        return found
