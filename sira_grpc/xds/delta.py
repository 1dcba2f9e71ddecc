"""Delta: the form of the protocol in which both sides say only what has changed."""

from __future__ import annotations

from typing import Any

from sira_grpc.xds.encoding import delta_heartbeat, delta_response
from sira_grpc.xds.name_sets import EMPTY
from sira_grpc.xds.resource import Resource
from sira_grpc.xds.subscription import HOLD_SECONDS, WILDCARD, Reader, Response, Subscription
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, FULL_STATE


class DeltaSubscription(Subscription):
    """A type on a delta stream."""

    __slots__ = ("_known", "_left")

    def __init__(self, reader: Reader, type_url: str) -> None:
        super().__init__(reader, type_url)
        self._known: dict[str, str] = {}  # versions that the client came with, until the first response
        self._left = EMPTY  # names that it has left, with a wildcard, of which there is nothing

    def receive(self, request: Any) -> None:
        """See Subscription."""
        if request.response_nonce:
            self.answered(request.response_nonce, request.error_detail if request.HasField("error_detail") else None)
        added, removed = frozenset(request.resource_names_subscribe), frozenset(request.resource_names_unsubscribe)
        if added or removed or not self.started:
            self._subscribe(request, added, removed)

    def _subscribe(self, request: Any, added: frozenset[str], removed: frozenset[str]) -> None:
        names = self.names.difference(removed).union(added) - {WILDCARD}
        wildcard = WILDCARD in added or (self.wildcard and WILDCARD not in removed)
        self._check(names, "resource_names_subscribe")
        self._check(removed, "resource_names_unsubscribe")
        if self.started:
            # Of what the client came with, it still has what it went on to ask for.
            kept = None if wildcard and self.wildcard else self.names
            self._known = {
                name: version
                for name, version in self._known.items()
                if name not in added and name not in removed and (kept is None or name in kept)
            }
        else:
            self._check(request.initial_resource_versions, "initial_resource_versions")
            self._known = dict(request.initial_resource_versions)
            self.started = True
            wildcard = wildcard or (not added and not removed and self.type_url in FULL_STATE)
        if wildcard and not self.wildcard:
            self.answer = self._resized = True
        elif WILDCARD in added:
            self.again |= self.covered
        left = (removed & self.names) - names
        self.names, self.wildcard = self.reader.name_sets.of(names), wildcard
        asked = added - {WILDCARD}
        self.rejections.forget(asked)
        self.fresh |= asked
        if wildcard:
            # Whoever leaves a name, but goes on to take all there is, is told of it as it is.
            covered = self._reach()
            self.fresh |= removed & covered
            self._left |= left - covered
        self._trim()

    @property
    def due(self) -> bool:
        """See Subscription."""
        return super().due or bool(self._left)

    def compose(self, nonce: str, told: int, now: float) -> Response | None:
        """See Subscription."""
        uncovered = self._resize()
        due, gone = self._look()
        removed = self._removed(uncovered.union(gone), now).union(self._left - self.all_names)
        self._left = EMPTY
        if self._known:
            due = [resource for resource in due if self._known.get(resource.name) != resource.version]
            if self.wildcard:
                removed |= self._known.keys() - self.all_names
            self._known = {}
        if self.missing or removed:
            self.missing = self.missing.difference(r.name for r in due).union(self.names.intersection(removed))
        if not due and not removed and not self.answer:
            self._looked(told)
            return None
        body = self.reader.encoder.delta(self.type_url, tuple(due), self._ttl)
        self._sent(nonce, body.resources, told)
        return Response(delta_response(body, nonce, sorted(removed)), due)

    def _removed(self, gone: frozenset[str], now: float) -> set[str]:
        """Returns which names are to be removed now. Those of clusters wait: no route is to lead to nothing."""
        for name in [name for name in self.leaving if self._there(name)]:
            del self.leaving[name]
        removed = set(self.released.intersection(self.leaving))
        for name in gone:
            if self.type_url != CLUSTER or name in self.fresh:
                removed.add(name)
            elif name not in removed:
                self.leaving.setdefault(name, now + HOLD_SECONDS)
        return removed

    def _there(self, name: str) -> bool:
        return (name in self.names or name in self.covered) and self.get(name) is not None

    def heartbeat(self, nonce: str) -> bytes | None:
        """See Subscription."""
        found = (self._used(name) for name in sorted(self.all_names - self.missing))
        resources = [resource for resource in found if resource is not None]
        if not resources:
            return None
        self.unanswered[nonce] = ()
        return delta_heartbeat(self.type_url, resources, nonce, self.reader.ttl)

    def _used(self, name: str) -> Resource | None:
        """Returns what the client uses of a name, if that is known."""
        resource = self.get(name)
        if resource is not None and (resource in self.rejections or resource.generation > self.at):
            resource = resource.before
        return resource

    @property
    def _ttl(self) -> float:
        return self.reader.ttl if self.type_url == ENDPOINTS else 0.0
