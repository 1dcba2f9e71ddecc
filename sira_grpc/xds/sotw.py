"""State of the world: the form of the protocol in which a client says again and again all that it asks for."""

from __future__ import annotations

from typing import Any

from sira_grpc.xds.encoding import sotw_heartbeat, sotw_response
from sira_grpc.xds.resource import Resource
from sira_grpc.xds.subscription import HOLD_SECONDS, WILDCARD, Reader, Response, Subscription
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, FULL_STATE

_NONE: tuple[Resource, ...] = ()


class SotwSubscription(Subscription):
    """A type on a state-of-the-world stream.

    Attributes:
        nonce: of the last response; empty before there is one.
        version: of the last response that was accepted; empty before there is one.
        held: what the last response of a type of FULL_STATE had, or what was left of it when it was rejected.
    """

    __slots__ = ("_accepted", "_full", "_listed", "_named", "_versions", "held", "nonce", "version")

    def __init__(self, reader: Reader, type_url: str) -> None:
        super().__init__(reader, type_url)
        self.nonce = self.version = ""
        self._versions: dict[str, str] = {}  # of what is unanswered, by nonce
        self.held = self._accepted = _NONE
        self._full = type_url in FULL_STATE
        self._listed = 0  # hash of the list of names in the last request
        self._named = False  # there were names, so that an empty list means none

    def receive(self, request: Any) -> None:
        """See Subscription."""
        listed = hash(names := tuple(request.resource_names))
        changed = listed != self._listed or not self.started
        if changed:
            self._check(names, "resource_names")
        if self.started and request.response_nonce:
            self._answered(request.response_nonce, request.error_detail if request.HasField("error_detail") else None)
            if request.response_nonce != self.nonce:
                # Stale, and not answered: the answer to the response that is on its way says everything. Only what is
                # not asked for any more must be noted, as the client has dropped it, and may then ask for it anew.
                if changed:
                    self._listed = 0
                    self._subscribe(tuple(n for n in names if n in self.names or (n == WILDCARD and self.wildcard)))
                return
        if changed:
            self._listed = listed
            self._subscribe(names)

    def _answered(self, nonce: str, error: Any) -> None:
        sent = self.unanswered.get(nonce, _NONE)
        if not self.answered(nonce, error):
            return
        if error is None:
            self.version = self._versions.get(nonce, self.version)
        if nonce == self.nonce:
            self.unanswered.clear()
            self._versions.clear()
        if self._full:
            # What is on its way has what was bad in it too, and is going to be rejected for that.
            self.held = self.held if error is None else self._good(self.held)
            self._accepted = self._wanted(sent if error is None else self._good(sent))

    def _wanted(self, resources: tuple[Resource, ...]) -> tuple[Resource, ...]:
        """Returns those to which the client is still subscribed: the same object if it is to all."""
        kept = self._reach().union(self.leaving)
        wanted = tuple(resource for resource in resources if resource.name in kept)
        return resources if len(wanted) == len(resources) else wanted

    def _good(self, sent: tuple[Resource, ...]) -> tuple[Resource, ...]:
        """Returns what a client has after it rejected a response: in place of what was bad, what it had before."""
        before = {resource.name: resource for resource in self._accepted}
        kept = (before.get(r.name) if r in self.rejections else r for r in sent)
        return tuple(resource for resource in kept if resource is not None)

    def _suspects(self, sent: tuple[Resource, ...]) -> tuple[Resource, ...]:
        accepted = frozenset((resource.name, resource.version) for resource in self._accepted)
        return tuple(r for r in sent if (r.name, r.version) not in accepted) or sent

    def _subscribe(self, listed: tuple[str, ...]) -> None:
        first, self.started = not self.started, True
        wildcard = WILDCARD in listed or (not listed and self._full and not self._named)
        self._named = self._named or bool(listed)
        names = self.reader.name_sets.of(name for name in listed if name != WILDCARD)
        added = names - self.names
        if self._full and (first or added or (wildcard and not self.wildcard)):
            self.answer = True
        if names == self.names and wildcard == self.wildcard:
            return
        self.names, self.wildcard = names, wildcard
        self._resized = wildcard
        self.fresh |= added
        self.rejections.forget(added)
        self._trim()
        if self._full:
            self.held, self._accepted = self._wanted(self.held), self._wanted(self._accepted)

    def compose(self, nonce: str, told: int, now: float) -> Response | None:
        """See Subscription."""
        resources, changed, missing = self._state(now) if self._full else self._changes()
        if missing or self.missing:
            self.missing = self.missing.difference(r.name for r in changed).union(missing)
        if not self.answer and not missing and (resources == self.held if self._full else not resources):
            self._looked(told)
            return None
        body = self.reader.encoder.sotw(self.type_url, resources, self._ttl)
        if self._full:
            self.held = body.resources
        self._sent(nonce, body.resources, told)
        self._await(nonce, body.version)
        return Response(sotw_response(body, nonce, missing), changed)

    def _changes(self) -> tuple[tuple[Resource, ...], tuple[Resource, ...], list[str]]:
        self._resize()
        due, gone = self._look()
        resources = tuple(due)
        return resources, resources, [name for name in gone if name in self.names]

    def _state(self, now: float) -> tuple[tuple[Resource, ...], tuple[Resource, ...], list[str]]:
        """Returns all there is, what of it is new, and the names that are missing and not known to be."""
        self._resize()
        held = {resource.name: resource for resource in self.held}
        looked = (self.fresh | self.again | self.dirty).union(self.leaving)
        wanted = self.all_names
        state, changed, missing = [], [], []
        for name in sorted(wanted.union(held)):
            resource = before = held.get(name)
            if before is None or name in looked or name not in wanted:
                resource = self._current(name, before, now)
            if resource is not None:
                state.append(resource)
                if resource is not before:
                    changed.append(resource)
            elif name in self.names and self.get(name) is None and (name in self.fresh or name not in self.missing):
                missing.append(name)
        return tuple(state), tuple(changed), missing

    def _current(self, name: str, before: Resource | None, now: float) -> Resource | None:
        """Returns what a client is to have of a name; `before` is what it has."""
        resource = self.get(name) if name in self.names or name in self.covered else None
        if resource is None:
            return before if before is not None and self._stays(name, now) else None
        self.leaving.pop(name, None)
        # What was rejected is not sent again; and as what is absent is gone, what there was before is.
        return before if resource in self.rejections else resource

    def _stays(self, name: str, now: float) -> bool:
        """Whether what is gone is kept for now. Only clusters are: no route is to lead to nothing."""
        if name in self.released or self.type_url != CLUSTER:
            self.leaving.pop(name, None)
            return False
        self.leaving.setdefault(name, now + HOLD_SECONDS)
        return True

    def heartbeat(self, nonce: str) -> bytes | None:
        """See Subscription."""
        names = sorted(self.all_names - self.missing)
        if not names or not self.version:
            return None
        self.unanswered[nonce] = _NONE
        self._await(nonce, self.version)
        return sotw_heartbeat(self.type_url, names, self.version, nonce, self.reader.ttl)

    def _await(self, nonce: str, version: str) -> None:
        """Notes that the answer to a response is waited for."""
        self.nonce = nonce
        self._versions[nonce] = version
        for answered in self._versions.keys() - self.unanswered.keys():
            del self._versions[answered]

    @property
    def _ttl(self) -> float:
        return self.reader.ttl if self.type_url == ENDPOINTS else 0.0
