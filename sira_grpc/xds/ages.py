"""Ages: at which generation each thing that resources are made of last changed."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable

from sira_grpc.registry.view import RegistryView
from sira_grpc.xds import forms
from sira_grpc.xds.names import EGRESS, TRUST, Target
from sira_grpc.xds.node import Node
from sira_grpc.xds.references import References
from sira_grpc.xds.source import Change
from sira_grpc.xds.subjects import Scope, Subject
from sira_grpc.xds.transitions import Transitions
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from sira_grpc.xds.variants import looks_at

FIRST = 1
"""The generation of what was there from the beginning."""


class Ages:
    """Generations, by service: of the service with its policy, and of its endpoints.

    Args:
        view: the registry, which may still be empty: it is read when something is asked for, or changes, first.
        references, transitions: are told of every policy.

    Attributes:
        generation: the present one.
        membership: of the set of services, and of the subsets that policies refer to.
        trust: of the roots.
        references: what policies refer to.
    """

    def __init__(self, view: RegistryView, references: References, transitions: Transitions) -> None:
        self._view = view
        self._transitions = transitions
        self.generation = FIRST
        self.trust = FIRST
        self._membership = FIRST
        self._policies = FIRST  # of any service
        self._revisions: dict[str, int] | None = None  # of services, as they are known here
        self._services: dict[str, int] = {}
        self._endpoints: dict[str, int] = {}
        self._begun: dict[str, int] = {}
        self._moved: dict[str, int] = {}
        self._alike: dict[str, Hashable] = {}
        self._references = references

    @property
    def membership(self) -> int:
        """See the attributes."""
        self._known()
        return self._membership

    @property
    def references(self) -> References:
        """See the attributes."""
        self._known()
        return self._references

    def read(self) -> None:
        """Reads the view if that was not done yet: who is told that something is not there is told when it comes."""
        self._known()

    def _known(self) -> dict[str, int]:
        if self._revisions is None:
            self._revisions = {name: entry.revision for name, entry in self._view.services.items()}
            self._alike = {name: looks_at(entry.message.traffic_policy) for name, entry in self._view.services.items()}
            self._references.load(self._view, FIRST)
            self._transitions.load(self._view)
        return self._revisions

    def of(self, type_url: str, about: Subject, node: Node) -> int:
        """Returns the generation of a resource for a client; 0 if there is none, for nothing refers to it."""
        self._known()
        if about.scope is Scope.TRUST:
            return self.trust
        if about.scope is Scope.MESH:
            return max(self._policies, self._membership)
        if about.target is None:
            return self._services.get(node.service) or self._from_the_beginning(node.service)
        service = about.target.service
        ages = self._endpoints if type_url == ENDPOINTS else self._services
        age = ages.get(service) or self._from_the_beginning(service)
        if about.target.whole:
            return age
        since = self._references.since(about.target)
        return max(age, since) if since else 0

    def begun(self, type_url: str, about: Subject, node: Node) -> int:
        """Returns the generation before which nothing that was made for a client says what it has now.

        Until then the target was not there, or resources depended on something else of the client, or weights were
        others: what was made earlier may look the same, but the client was told something else since.
        """
        if about.target is None:
            return FIRST
        service = about.target.service
        moved = self._moved.get(service, FIRST) if type_url == ENDPOINTS and not node.envoy else FIRST
        return max(self._begun.get(service, FIRST), self._references.since(about.target), moved)

    def _from_the_beginning(self, service: str) -> int:
        """Returns the age of a service that has not changed; of one that is not there, when it may have gone."""
        return FIRST if service in self._view.services else self._membership

    def services_changed(self, services: Collection[str], now: float) -> Change:
        """Notes that something has changed of services, or that they are gone. `now`: monotonic seconds."""
        self._known()
        self.generation += 1
        written: set[str] = set()
        subsets: set[Target] = set()
        rerouted: set[str] = set()
        for name in services:
            self._endpoints[name] = self.generation
            if self._written(name, written, subsets, now):
                rerouted |= self._references.referrers(name)  # calls go to what is there
        if written:
            self._policies = self.generation
        for name in written:
            self._services[name] = self._endpoints[name] = self.generation
        self._rerouted(rerouted)
        for name in services:
            if name not in self._view.services:
                self._forget(name)
        touched = frozenset({*services, *written})
        changed = {ENDPOINTS: forms.of_targets(self._targets(touched) | subsets, ENDPOINTS)}
        if written:
            changed[CLUSTER] = forms.of_targets(self._targets(written) | subsets, CLUSTER)
            changed[LISTENER] = forms.of_services(written, LISTENER)
            changed[ROUTES] = forms.of_services(written | rerouted, ROUTES) | forms.of(EGRESS, ROUTES)
        return Change(self.generation, touched, changed)

    def _rerouted(self, services: Iterable[str]) -> None:
        """Notes that the routes of services are others, though nothing was written of them."""
        for name in services:
            if name in self._view.services:
                self._services[name] = self.generation

    @property
    def due(self) -> float | None:
        """When `settle` is to be called, monotonic seconds; None if there is no need."""
        return min((due for due in (self._references.due, self._transitions.due) if due is not None), default=None)

    def settle(self, now: float) -> Change | None:
        """Notes what becomes of policies as time passes: targets that have lingered go, and steps are over."""
        gone = self._references.expire(now)
        services = self._transitions.take(now).union(service for service, _ in gone)
        if not services:
            return None
        self.generation += 1
        if gone:
            self._membership = self.generation
        self._rerouted(services)
        names = {ROUTES: forms.of_services(services, ROUTES)}
        for type_url in (CLUSTER, ENDPOINTS):
            names[type_url] = forms.of_targets({target for _, target in gone}, type_url)
        return Change(self.generation, frozenset(), names)

    def told(self, generation: int, now: float) -> None:
        """Notes that all clients were told of everything up to a generation."""
        self._transitions.told(generation, now)

    def _forget(self, name: str) -> None:
        for ages in (self._known(), self._services, self._endpoints, self._begun, self._moved):
            ages.pop(name, None)
        self._alike.pop(name, None)

    def _written(self, name: str, written: set[str], subsets: set[Target], now: float) -> bool:
        """Adds a service to those written if it was, and to the subsets those that are there now.

        Returns whether it has come or gone.
        """
        known = self._known()
        entry = self._view.services.get(name)
        before, after = known.get(name, 0), entry.revision if entry is not None else 0
        if before == after:
            return False
        known[name] = after
        written.add(name)
        policy = entry.message.traffic_policy if entry is not None else None
        seen = looks_at(policy) if policy is not None else None
        if not before or seen != self._alike.get(name, seen):
            self._begun[name] = self.generation
        self._alike[name] = seen
        added = self._references.update(name, policy, self.generation, now)
        self._transitions.update(name, policy, added, self.generation, now)
        subsets.update(added)
        moved = not before or not after
        if added or moved:
            self._membership = self.generation
        return moved

    def _targets(self, services: Iterable[str]) -> set[Target]:
        """Returns services, each as a whole and by the subsets that are referred to."""
        found = {Target(service) for service in services}
        for service in services:
            found.update(self._references.subsets(service))
        return found

    def weights_moved(self, services: frozenset[str]) -> Change:
        """Notes that the weights of endpoints of services have moved, for clients that know no slow start."""
        self.generation += 1
        for name in services:
            self._endpoints[name] = self._moved[name] = self.generation
        return Change(self.generation, services, {ENDPOINTS: forms.of_targets(self._targets(services), ENDPOINTS)})

    def trust_changed(self) -> Change:
        """Notes that the roots have changed."""
        self.generation += 1
        self.trust = self.generation
        return Change(self.generation, frozenset(), {SECRET: forms.of(TRUST, SECRET)})
