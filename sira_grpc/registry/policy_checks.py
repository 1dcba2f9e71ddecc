"""What policies of a service must keep beyond the rules of the protos: destinations that are there, among others."""

from __future__ import annotations

from collections.abc import Iterator

from sira.registry.v1.route_pb2 import Destination, Route
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import TlsMode, TrafficPolicy

from sira_grpc.errors import FieldViolation, InvalidField, NotEmpty
from sira_grpc.registry.resources import Resources

POLICY = "service.traffic_policy"
MAX_NAMED = 5
"""Services that an error names."""


def destinations(policy: TrafficPolicy) -> Iterator[tuple[str, Destination]]:
    """Yields the destinations of a policy, with the paths of their fields in it."""
    if policy.HasField("mirror"):
        yield "mirror.destination", policy.mirror.destination
    for number, route in enumerate(policy.routes):
        for place, split in enumerate(route.splits):
            if split.HasField("destination"):
                yield f"routes[{number}].splits[{place}].destination", split.destination
        if route.HasField("mirror"):
            yield f"routes[{number}].mirror.destination", route.mirror.destination


def mirroring(policy: TrafficPolicy) -> tuple[TrafficPolicy | Route, ...]:
    """Returns the parts of a policy that may have a mirror: it as a whole, and its routes."""
    return policy, *policy.routes


def check_access(service: Service) -> None:
    """Makes sure that who may call a service can be known.

    Not a rule of the proto: an update may bring the one part of it, and the service have the other.

    Raises:
        InvalidField: there is an access policy, and callers need not show a certificate.
    """
    if service.HasField("access_policy") and service.traffic_policy.tls != TlsMode.TLS_MODE_MUTUAL:
        raise InvalidField([FieldViolation("service.access_policy", "needs traffic_policy.tls to be TLS_MODE_MUTUAL")])


def check_destinations(service: Service, resources: Resources) -> None:
    """Makes sure that the services are there that the policy of a service sends calls to.

    Raises:
        InvalidField: one is not.
    """
    missing = [
        FieldViolation(f"{POLICY}.{path}.service", f"{destination.service} is not there")
        for path, destination in destinations(service.traffic_policy)
        if destination.service not in ("", service.name) and destination.service not in resources.services
    ]
    if missing:
        raise InvalidField(missing)


def _leads_to(policy: TrafficPolicy, service: str) -> bool:
    mirrors = (part.mirror.destination.service for part in mirroring(policy))
    splits = (split.destination.service for route in policy.routes for split in route.splits)
    return service in mirrors or service in splits


def check_unreferred(name: str, resources: Resources) -> None:
    """Makes sure that the policy of no other service sends calls to one.

    Raises:
        NotEmpty: one does.
    """
    senders = sorted(
        service
        for service, entry in resources.services.items()
        if service != name and _leads_to(entry.message.traffic_policy, name)
    )
    if senders:
        named = ", ".join(senders[:MAX_NAMED]) + (", ..." if len(senders) > MAX_NAMED else "")
        raise NotEmpty(
            f"the policies of {len(senders)} services send calls to {name}: {named}; change them first, or delete with "
            "force: the others that they send calls to then get those too",
            metadata={"resource": name},
        )
