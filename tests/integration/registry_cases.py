"""What each RPC of the registry and the kernel must refuse: one entry for every RPC, found by its full name."""

from __future__ import annotations

from collections.abc import Mapping

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from sira.kernel.v1 import kernel_service_pb2 as kernel
from sira.registry.v1 import registry_service_pb2 as pb
from sira.registry.v1 import resolver_service_pb2 as read
from sira.registry.v1.load_pb2 import EndpointLoad
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.service_pb2 import Service

from tests.integration.registry_kernel import SERVICE, endpoint
from tests.integration.registry_read_cases import callers, gets, lists
from tests.integration.registry_world import (
    DEFAULT,
    MINE,
    TOLD,
    Case,
    World,
)
from tests.integration.registry_write_cases import drains, endpoints, leases, namespaces, reports, services


def cases(world: World) -> Mapping[str, list[Case]]:
    """What must be refused, by the full name of the RPC."""
    found = {"sira.kernel.v1.KernelService/GetStatus": list[Case]()}  # its request has no field that could be wrong
    for part in (namespaces(), services(), leases(world), endpoints(world), reports(world), drains()):
        found.update((f"sira.registry.v1.RegistryService/{name}", given) for name, given in part)
    for part in (gets(world), lists(world), callers()):
        found.update((f"sira.registry.v1.ResolverService/{name}", given) for name, given in part)
    return found


def accepted(world: World) -> Mapping[str, Message]:
    """A request that each RPC takes: what is wrong with the others is what is different in them."""
    every: dict[str, Message] = {
        "CreateNamespace": pb.CreateNamespaceRequest(namespace=Namespace(name="namespaces/new")),
        "UpdateNamespace": pb.UpdateNamespaceRequest(namespace=Namespace(name=DEFAULT, description="d")),
        "DeleteNamespace": pb.DeleteNamespaceRequest(name=DEFAULT, force=True),
        "CreateService": pb.CreateServiceRequest(service=Service(name=f"{DEFAULT}/services/new")),
        "UpdateService": pb.UpdateServiceRequest(service=Service(name=SERVICE, description="d")),
        "DeleteService": pb.DeleteServiceRequest(name=SERVICE, force=True),
        "RegisterEndpoints": pb.RegisterEndpointsRequest(lease_key=world.key, endpoints=[endpoint("mine")]),
        "HoldLease": pb.HoldLeaseRequest(lease_key=world.key, endpoints=[endpoint("mine", port=81)]),
        "RenewLeases": pb.RenewLeasesRequest(lease_keys=[world.key, "none"]),
        "RevokeLease": pb.RevokeLeaseRequest(lease_key=world.key),
        "UpdateEndpoint": pb.UpdateEndpointRequest(endpoint=endpoint("mine", port=82)),
        "DeregisterEndpoints": pb.DeregisterEndpointsRequest(lease_key=world.key, names=[MINE]),
        "DeleteEndpoint": pb.DeleteEndpointRequest(name=MINE),
        "ReportHealth": pb.ReportHealthRequest(
            lease_key=world.key,
            reports=[pb.HealthReport(name=TOLD, state=2)],  # type: ignore[arg-type]  # SERVING
        ),
        "ReportLoad": pb.ReportLoadRequest(lease_key=world.key, loads=[EndpointLoad(name=MINE, utilization=0.5)]),
        "Drain": pb.DrainRequest(names=[SERVICE], timeout=Duration()),
        "CancelDrain": pb.CancelDrainRequest(names=[MINE]),
        "Resolve": read.ResolveRequest(service=SERVICE),
        "Watch": read.WatchRequest(service=SERVICE),
        "GetNamespace": read.GetNamespaceRequest(name=DEFAULT),
        "ListNamespaces": read.ListNamespacesRequest(),
        "GetService": read.GetServiceRequest(name=SERVICE),
        "ListServices": read.ListServicesRequest(parent=DEFAULT),
        "GetEndpoint": read.GetEndpointRequest(name=MINE),
        "ListEndpoints": read.ListEndpointsRequest(parent=SERVICE, page_token=world.page_token),
        "GetLease": read.GetLeaseRequest(name=world.lease),
        "ListLeases": read.ListLeasesRequest(filter="state = LEASE_STATE_RENEWED"),
        "ListEvents": read.ListEventsRequest(),
        "GetStatus": kernel.GetStatusRequest(),
    }
    return every
