"""Warming clusters: those that an Envoy was sent on a stream and cannot use yet, and for which routes wait.

An Envoy uses a cluster once it has the endpoints of it, and fails the calls that a route leads to it before. An
answer to the endpoints says that it has.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from sira_grpc.xds.subscription import Subscription
from sira_grpc.xds.type_urls import ENDPOINTS

LONGEST = 1.0
"""Seconds for which routes wait, at most."""
_NEVER = float("inf")


class Warming:
    """The clusters of one stream. Times are monotonic seconds.

    Attributes:
        until: for how long routes wait, at most; for ever if there is nothing to wait for.
    """

    __slots__ = ("_names", "until")

    def __init__(self) -> None:
        self._names: set[str] = set()
        self.until = _NEVER

    def __bool__(self) -> bool:
        return bool(self._names)

    def sent(self, names: Iterable[str], now: float) -> None:
        """Notes that clusters were sent that are new, or others than before."""
        self._names.update(names)
        if self._names and self.until == _NEVER:
            self.until = now + LONGEST

    def look(self, clusters: Subscription, endpoints: Subscription | None, now: float) -> None:
        """Forgets the clusters that can be used by now, and if it has taken too long all of them."""
        if not self._names:
            return
        if now >= self.until:
            self._names.clear()
        elif not clusters.unanswered and not self._underway(endpoints):
            self._names = set(_cold(self._names, clusters, endpoints))
        if not self._names:
            self.until = _NEVER

    def _underway(self, endpoints: Subscription | None) -> bool:
        """Whether endpoints of some were sent, and not answered yet: then the others need no look, which is dear."""
        sent = endpoints.unanswered.values() if endpoints is not None else ()
        return any(resource.name in self._names for resources in sent for resource in resources)


def _cold(names: Iterable[str], clusters: Subscription, endpoints: Subscription | None) -> Iterator[str]:
    asked = endpoints.all_names if endpoints is not None else frozenset()
    reader = clusters.reader
    for name in names:
        cluster = clusters.get(name)
        if cluster is None or cluster in clusters.rejections:
            continue
        # There are no endpoints to be had of one that says itself where it leads.
        if name not in asked and reader.source.get(ENDPOINTS, name, reader.node) is not None:
            yield name
