"""What the RPCs that read the registry must refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.v1 import resolver_service_pb2 as read
from sira.registry.v1.locality_pb2 import Locality

from tests.integration.registry_kernel import SERVICE
from tests.integration.registry_world import (
    DEFAULT,
    MINE,
    Case,
    Code,
    World,
    broken,
    malformed,
    missing,
    refused,
    wrong_mask,
)

NOWHERE = "namespaces/none"


def _lists(kind: Any, world: World, **fields: Any) -> Iterator[Case]:
    """What every list refuses."""
    for text in ("port >", "nope = 1", "name = a AND", 'name = "'):
        yield refused(Code.INVALID_ARGUMENT, "INVALID_FILTER", kind(filter=text, **fields))
    yield broken("filter", kind(filter="x" * 2049, **fields))
    for token in ("abc", world.page_token):
        yield refused(Code.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", kind(page_token=token, filter="name:a", **fields))
    yield broken("page_token", kind(page_token="x" * 1025, **fields))
    yield wrong_mask(kind(read_mask=FieldMask(paths=["nope"]), **fields))


def gets(world: World) -> Iterator[tuple[str, list[Case]]]:
    nope = FieldMask(paths=["nope"])
    yield (
        "GetNamespace",
        [
            *malformed("name", read.GetNamespaceRequest),
            missing("NAMESPACE", read.GetNamespaceRequest(name=NOWHERE)),
            wrong_mask(read.GetNamespaceRequest(name=DEFAULT, read_mask=nope)),
        ],
    )
    yield (
        "GetService",
        [
            *malformed("name", read.GetServiceRequest, "/services/s"),
            missing("SERVICE", read.GetServiceRequest(name=f"{DEFAULT}/services/none")),
            missing("NAMESPACE", read.GetServiceRequest(name=f"{NOWHERE}/services/s")),
            wrong_mask(read.GetServiceRequest(name=SERVICE, read_mask=nope)),
        ],
    )
    yield (
        "GetEndpoint",
        [
            *malformed("name", read.GetEndpointRequest, "/services/s/endpoints/e"),
            missing("ENDPOINT", read.GetEndpointRequest(name=f"{SERVICE}/endpoints/none")),
            wrong_mask(read.GetEndpointRequest(name=MINE, read_mask=nope)),
        ],
    )
    yield (
        "GetLease",
        [
            broken("name", read.GetLeaseRequest()),
            broken("name", read.GetLeaseRequest(name="leases/UP")),
            missing("LEASE", read.GetLeaseRequest(name="leases/none")),
            wrong_mask(read.GetLeaseRequest(name=world.lease, read_mask=nope)),
        ],
    )


def lists(world: World) -> Iterator[tuple[str, list[Case]]]:
    yield "ListNamespaces", list(_lists(read.ListNamespacesRequest, world))
    yield (
        "ListServices",
        [
            *_lists(read.ListServicesRequest, world, parent="namespaces/-"),
            *malformed("parent", read.ListServicesRequest),
            missing("NAMESPACE", read.ListServicesRequest(parent=NOWHERE)),
        ],
    )
    yield (
        "ListEndpoints",
        [
            *_lists(read.ListEndpointsRequest, world, parent=SERVICE),
            *malformed("parent", read.ListEndpointsRequest, "/services/s"),
            missing("SERVICE", read.ListEndpointsRequest(parent=f"{DEFAULT}/services/none")),
            missing("NAMESPACE", read.ListEndpointsRequest(parent=f"{NOWHERE}/services/-")),
        ],
    )
    yield "ListLeases", list(_lists(read.ListLeasesRequest, world))
    token = read.ListEventsRequest(page_token="abc")
    yield (
        "ListEvents",
        [
            refused(Code.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", token),
            broken("resource", read.ListEventsRequest(resource="r" * 256)),
        ],
    )


def callers() -> Iterator[tuple[str, list[Case]]]:
    resolve, watch = read.ResolveRequest, read.WatchRequest
    both = [
        (missing, "SERVICE", f"{DEFAULT}/services/none"),
        (missing, "NAMESPACE", "namespaces/none/services/s"),
    ]
    yield (
        "Resolve",
        [
            *malformed("service", resolve, "/services/s"),
            *(case(reason, resolve(service=name)) for case, reason, name in both),
            broken("client_id", resolve(service=SERVICE, client_id="c" * 256)),
            broken("hash_key", resolve(service=SERVICE, hash_key="h" * 1025)),
            broken("limit", resolve(service=SERVICE, limit=100_001)),
            broken("locality.region", resolve(service=SERVICE, locality=Locality(region="/"))),
        ],
    )
    yield (
        "Watch",
        [
            *malformed("service", watch, "/services/s"),
            *(case(reason, watch(service=name)) for case, reason, name in both),
            broken("start_revision", watch(service=SERVICE, start_revision=-1)),
            refused(Code.OUT_OF_RANGE, "REVISION_AHEAD", watch(service=SERVICE, start_revision=1 << 62)),
            refused(Code.OUT_OF_RANGE, "REVISION_COMPACTED", watch(service=SERVICE, start_revision=1)),
        ],
    )
