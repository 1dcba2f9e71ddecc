"""Answers which endpoints of a service one caller should use, in which order."""

from __future__ import annotations

import random
from dataclasses import dataclass

from sira.registry.v1.health_check_pb2 import HealthState
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.resolver_service_pb2 import ResolvedEndpoint, ResolveRequest, ResolveResponse
from sira.registry.v1.traffic_policy_pb2 import LbPolicy
from sira_client.balancing import Candidate, order, ramp_end_ns, select

from sira_grpc.clock import Clock
from sira_grpc.registry.entries import EndpointEntry, ServiceEntry
from sira_grpc.registry.load import LoadTable
from sira_grpc.registry.view import RegistryView
from sira_grpc.times import NANOS

KEPT_CANDIDATES = 100_000
"""Candidates in the selections that are kept, one for each locality and client id that asks of a service."""
HASH_KEY_BITS = 64


@dataclass(slots=True)
class _Selection:
    """What one kind of caller may use of a service, as of one generation of it."""

    generation: int
    fresh_until_ns: int  # slow start moves the weights
    candidates: list[Candidate]
    resolved: dict[str, ResolvedEndpoint]  # by endpoint name

    @property
    def size(self) -> int:
        """What it counts for in what is kept: an empty one takes memory too."""
        return 1 + len(self.candidates)


class Resolver:
    """Selects, orders and remembers what does not change from call to call."""

    def __init__(self, view: RegistryView, loads: LoadTable, clock: Clock, rng: random.Random) -> None:
        self._view = view
        self._loads = loads
        self._clock = clock
        self._random = rng
        self._selections: dict[tuple[str, str, str, str], _Selection] = {}
        self._kept = 0  # candidates in them

    def resolve(self, request: ResolveRequest) -> ResolveResponse:
        """Answers a caller.

        Raises:
            ServiceNotFound, NamespaceNotFound: the service is not there; one without healthy endpoints is no error.
        """
        service = self._view.service(request.service)
        selection = self._select(service, request)
        policy = service.message.traffic_policy
        ordered = order(
            selection.candidates,
            policy,
            hash_key=request.hash_key or self._random.randbytes(HASH_KEY_BITS // 8).hex(),
            turn=_next_turn(service),
            random=self._random,
            loads=self._loads,
        )
        resolved = selection.resolved
        answer = [resolved[c.endpoint.name] for c in ordered]
        if request.include_unhealthy:
            answer += _unselected(service, resolved)
        response = ResolveResponse(
            lb_policy=policy.lb_policy or LbPolicy.LB_POLICY_ROUND_ROBIN,
            registered=len(service.endpoints),
            revision=self._view.revision,
        )
        response.endpoints.extend(answer[: request.limit] if request.limit else answer)
        return response

    def _select(self, service: ServiceEntry, request: ResolveRequest) -> _Selection:
        policy = service.message.traffic_policy
        # What the policy does not look at makes no difference: callers are alike without it.
        locality = request.locality if policy.HasField("locality_failover") else Locality()
        client_id = request.client_id if policy.subset_size else ""
        key = (service.message.name, locality.region, locality.zone, client_id)
        now_ns = self._clock.time_ns()
        known = self._selections.get(key)
        if known is not None and known.generation == service.generation and now_ns < known.fresh_until_ns:
            return known
        self._drop(key)
        selection = self._selections[key] = self._compute(service, locality, client_id, now_ns)
        self._kept += selection.size
        while len(self._selections) > 1 and self._kept > KEPT_CANDIDATES:
            self._drop(next(iter(self._selections)))  # the one that was computed first
        return selection

    def _drop(self, key: tuple[str, str, str, str]) -> None:
        selection = self._selections.pop(key, None)
        if selection is not None:
            self._kept -= selection.size

    @staticmethod
    def _compute(service: ServiceEntry, locality: Locality, client_id: str, now_ns: int) -> _Selection:
        endpoints = [entry.message for entry in service.endpoints.values()]
        policy = service.message.traffic_policy
        candidates = select(endpoints, policy, locality=locality, client_id=client_id, now_ns=now_ns)
        ramping = ramp_end_ns(endpoints, policy) > now_ns
        return _Selection(
            service.generation,
            now_ns + NANOS // 10 if ramping else (1 << 63),
            candidates,
            {c.endpoint.name: _resolved(c) for c in candidates},
        )


def _next_turn(service: ServiceEntry) -> int:
    service.turn += 1
    return service.turn


def _resolved(candidate: Candidate) -> ResolvedEndpoint:
    endpoint = candidate.endpoint
    return ResolvedEndpoint(
        name=endpoint.name,
        addresses=endpoint.addresses,
        port=endpoint.port,
        weight=candidate.weight,
        priority=candidate.priority,
        locality=endpoint.locality,
        state=endpoint.status.state,
        metadata=endpoint.metadata,
    )


def _unselected(service: ServiceEntry, selected: dict[str, ResolvedEndpoint]) -> list[ResolvedEndpoint]:
    """Returns the endpoints that were not selected, those that might serve first, with a weight of 0."""

    def rank(entry: EndpointEntry) -> tuple[bool, str]:
        return entry.message.status.state != HealthState.HEALTH_STATE_SERVING, entry.message.name

    rest = sorted((e for name, e in service.endpoints.items() if name not in selected), key=rank)
    return [_resolved(Candidate(e.message, 0, 0)) for e in rest]
