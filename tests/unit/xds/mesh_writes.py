"""Random writes to a mesh, as those come that its operators and deployments make."""

from __future__ import annotations

from random import Random
from typing import Any

from google.protobuf.duration_pb2 import Duration
from sira.registry.v1.fault_injection_pb2 import FaultAbort, FaultInjection
from sira.registry.v1.route_pb2 import Destination, Mirror, Route, Split
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, SlowStart

from tests.unit.xds.mesh import NAMESPACE, Mesh, endpoint

SERVICES = tuple(f"{NAMESPACE}/services/s{number}" for number in range(4))
LB_POLICIES = (LbPolicy.LB_POLICY_ROUND_ROBIN, LbPolicy.LB_POLICY_WEIGHTED, LbPolicy.LB_POLICY_RING_HASH)
UNAVAILABLE = 14


class Writer:
    """Writes services and endpoints.

    Args:
        mesh: to which it writes.
        random: what it draws from.
        deletes: whether it deletes services, to which others may lead.
    """

    def __init__(self, mesh: Mesh, random: Random, *, deletes: bool) -> None:
        self._mesh = mesh
        self._random = random
        self._deletes = deletes

    def write(self) -> None:
        """Writes something, or nothing."""
        service, drawn = self._random.choice(SERVICES), self._random.random()
        if service not in self._mesh.view.services:
            self._mesh.service(service, **self._policy(service))
        elif drawn < 0.08 and self._deletes:
            self._mesh.delete_service(service)
        elif drawn < 0.55:
            self._mesh.service(service, **self._policy(service))
        elif drawn < 0.9:
            self._register(service)
        else:
            self._deregister(service)

    def _register(self, service: str) -> None:
        number, version = self._random.randint(1, 4), self._random.choice(["v1", "v2"])
        made = endpoint(number, service=service, version=version, weight=self._random.randint(1, 3))
        self._mesh.endpoint(made)

    def _deregister(self, service: str) -> None:
        endpoints = sorted(self._mesh.view.services[service].endpoints)
        if endpoints:
            self._mesh.delete_endpoint(self._random.choice(endpoints).rpartition("/")[2], service)

    def _policy(self, service: str) -> dict[str, Any]:
        """Returns the fields of a traffic policy."""
        random = self._random
        routes = [
            Route(splits=[self._split(service) for _ in range(random.randint(1, 3))])
            for _ in range(random.choice([0, 1, 1, 2]))
        ]
        policy: dict[str, Any] = {"routes": routes}
        if random.random() < 0.3:
            policy["timeout"] = Duration(seconds=random.randint(1, 3))
        if random.random() < 0.2:
            policy["lb_policy"] = random.choice(LB_POLICIES)
        if random.random() < 0.1:
            policy["fault"] = FaultInjection(abort=FaultAbort(code=UNAVAILABLE, percent=1))
        if random.random() < 0.15:
            policy["mirror"] = Mirror(percent=10, destination=self._destination(service))
        if random.random() < 0.1:
            policy["slow_start"] = SlowStart(window=Duration(seconds=2))
        return policy

    def _split(self, service: str) -> Split:
        return Split(weight=self._random.choice([0, 1, 1, 3]), destination=self._destination(service))

    def _destination(self, service: str) -> Destination:
        return Destination(service=self._any(service), version=self._random.choice(["", "v1", "v2", "v3"]))

    def _any(self, service: str) -> str:
        return self._random.choice(["", service, *sorted(self._mesh.view.services)])
