"""What each RPC of the registry and the kernel must refuse: one entry for every RPC, found by its full name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message
from sira.kernel.v1 import kernel_service_pb2 as kernel
from sira.registry.v1 import registry_service_pb2 as pb
from sira.registry.v1 import resolver_service_pb2 as read
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthCheck, HttpCheck, TtlCheck
from sira.registry.v1.load_pb2 import EndpointLoad
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import SlowStart, TrafficPolicy

from tests.integration.registry_kernel import SERVICE, Running, endpoint

Code = grpc.StatusCode
DEFAULT = "namespaces/default"
MINE, TOLD, THEIRS = (f"{SERVICE}/endpoints/{i}" for i in ("mine", "told", "theirs"))
NEW, NONE = (f"{SERVICE}/endpoints/{i}" for i in ("new", "none"))
STALE = "999"
MALFORMED = ("", "x", "namespaces/", "namespaces/Default", "namespaces/-a", "namespaces/a-", "namespaces/" + "a" * 64)


@dataclass(frozen=True)
class World:
    """What is there before each case: two leases, three endpoints, the second of which reports its own health."""

    key: str
    other_key: str
    wrong_key: str
    lease: str
    page_token: str


@dataclass(frozen=True)
class Case:
    """A request, or those of a stream, that must be refused; field: what the error must name."""

    code: grpc.StatusCode
    reason: str
    requests: tuple[Message, ...]
    field: str = ""


async def prepare(running: Running) -> World:
    """Fills a registry."""
    # The service is not the first thing there is: a watch could begin before it was created.
    await running.registry.CreateNamespace(pb.CreateNamespaceRequest(namespace=Namespace(name="namespaces/other")))
    told = endpoint("told")
    told.health_check.CopyFrom(HealthCheck(ttl=TtlCheck(ttl=Duration(seconds=86_400))))
    mine = await running.register(endpoint("mine"), told)
    theirs = await running.register(endpoint("theirs"))
    page = await running.resolver.ListEndpoints(read.ListEndpointsRequest(parent=SERVICE, page_size=1))
    return World(
        key=mine.lease_key,
        other_key=theirs.lease_key,
        wrong_key=mine.lease_key.partition(".")[0] + "." + "0" * 32,
        lease=mine.lease.name,
        page_token=page.next_page_token,
    )


def _refused(code: grpc.StatusCode, reason: str, *requests: Message, field: str = "") -> Case:
    return Case(code, reason, requests, field)


def _field(field: str, *requests: Message) -> Case:
    return Case(Code.INVALID_ARGUMENT, "INVALID_FIELD", requests, field)


def _missing(reason: str, *requests: Message) -> Case:
    return Case(Code.NOT_FOUND, f"{reason}_NOT_FOUND", requests)


def _mask(request: Message) -> Case:
    return Case(Code.INVALID_ARGUMENT, "INVALID_FIELD_MASK", (request,))


def _stale(request: Message) -> Case:
    return Case(Code.ABORTED, "ETAG_MISMATCH", (request,))


def _names(field: str, kind: type[Message], suffix: str = "", **fields: Any) -> Iterator[Case]:
    """Malformed names in a field that holds one."""
    for name in MALFORMED:
        yield _field(field, kind(**{field: name + suffix, **fields}))


def _oversized(kind: type[Message], **fields: Any) -> Iterator[tuple[str, Any]]:
    """Resources with labels that are too many or too large, and the field that says so."""
    yield "metadata", kind(metadata={f"k{i}": "" for i in range(65)}, **fields)
    yield "metadata", kind(metadata={"k" * 64: ""}, **fields)
    yield "metadata", kind(metadata={"": ""}, **fields)
    yield "metadata", kind(metadata={"k": "v" * 1025}, **fields)


def _bad_endpoints() -> Iterator[tuple[str, Endpoint]]:
    """Endpoints that break a rule, and the field."""
    yield from _oversized(Endpoint, name=MINE, addresses=["a"], port=1)
    yield "name", Endpoint(name=SERVICE, addresses=["a"], port=1)
    yield "addresses", Endpoint(name=MINE, port=1)
    yield "addresses[0]", Endpoint(name=MINE, addresses=["a b"], port=1)
    yield "port", endpoint("mine", port=0)
    yield "port", endpoint("mine", port=65_536)
    checks = {
        "kind": HealthCheck(),
        "interval": HealthCheck(ttl=TtlCheck(ttl=Duration(seconds=1)), interval=Duration(seconds=-1)),
        "timeout": HealthCheck(ttl=TtlCheck(ttl=Duration(seconds=1)), timeout=Duration(nanos=-1)),
        "ttl.ttl": HealthCheck(ttl=TtlCheck()),
        "http.path": HealthCheck(http=HttpCheck(path="no slash")),
        "jitter": HealthCheck(http=HttpCheck(), jitter=float("nan")),
    }
    for field, check in checks.items():
        bad = endpoint("mine")
        bad.health_check.CopyFrom(check)
        yield f"health_check.{field}", bad
    tagged = endpoint("mine")
    tagged.tags.extend(["t", "t"])
    yield "tags", tagged
    weighty = endpoint("mine")
    weighty.weight = 10_001
    yield "weight", weighty
    placed = endpoint("mine")
    placed.locality.region = "no spaces"
    yield "locality.region", placed


def _policies() -> Iterator[tuple[str, TrafficPolicy]]:
    unknown = TrafficPolicy()
    unknown.lb_policy = 99  # type: ignore[assignment]  # no such policy
    yield "lb_policy", unknown
    yield "slow_start.window", TrafficPolicy(slow_start=SlowStart())
    yield "slow_start.window", TrafficPolicy(slow_start=SlowStart(window=Duration(seconds=-1)))
    yield "subset_size", TrafficPolicy(subset_size=10_001)


def _namespaces() -> Iterator[tuple[str, list[Case]]]:
    create, update, delete = pb.CreateNamespaceRequest, pb.UpdateNamespaceRequest, pb.DeleteNamespaceRequest
    bad = list(_oversized(Namespace, name="namespaces/n"))
    bad += [("name", Namespace(name=name)) for name in MALFORMED]
    bad += [("description", Namespace(name="namespaces/n", description="x" * 1025))]
    yield (
        "CreateNamespace",
        [
            _field("namespace", create()),
            *(_field(f"namespace.{field}", create(namespace=n)) for field, n in bad),
            _refused(Code.ALREADY_EXISTS, "ALREADY_EXISTS", create(namespace=Namespace(name=DEFAULT))),
        ],
    )
    yield (
        "UpdateNamespace",
        [
            _field("namespace", update()),
            *(_field(f"namespace.{field}", update(namespace=n)) for field, n in bad),
            _missing("NAMESPACE", update(namespace=Namespace(name="namespaces/none"))),
            _stale(update(namespace=Namespace(name=DEFAULT, etag=STALE))),
            _mask(update(namespace=Namespace(name=DEFAULT), update_mask=FieldMask(paths=["nope"]))),
            _mask(update(namespace=Namespace(name=DEFAULT), update_mask=FieldMask(paths=["name"]))),
        ],
    )
    yield (
        "DeleteNamespace",
        [
            *_names("name", delete),
            _missing("NAMESPACE", delete(name="namespaces/none", force=True)),
            _stale(delete(name=DEFAULT, etag=STALE, force=True)),
            _refused(Code.FAILED_PRECONDITION, "NOT_EMPTY", delete(name=DEFAULT)),
        ],
    )


def _services() -> Iterator[tuple[str, list[Case]]]:
    create, update, delete = pb.CreateServiceRequest, pb.UpdateServiceRequest, pb.DeleteServiceRequest
    bad = list(_oversized(Service, name=SERVICE))
    bad += [("name", Service(name=f"{name}/services/s")) for name in MALFORMED]
    bad += [(f"traffic_policy.{field}", Service(name=SERVICE, traffic_policy=p)) for field, p in _policies()]
    half = Service(name=SERVICE, traffic_policy=TrafficPolicy(slow_start=SlowStart(window=Duration(seconds=1))))
    half_mask = FieldMask(paths=["traffic_policy.slow_start.aggression"])
    yield (
        "CreateService",
        [
            _field("service", create()),
            *(_field(f"service.{field}", create(service=s)) for field, s in bad),
            _missing("NAMESPACE", create(service=Service(name="namespaces/none/services/s"))),
            _refused(Code.ALREADY_EXISTS, "ALREADY_EXISTS", create(service=Service(name=SERVICE))),
        ],
    )
    yield (
        "UpdateService",
        [
            _field("service", update()),
            *(_field(f"service.{field}", update(service=s)) for field, s in bad),
            _field("service.traffic_policy.slow_start.window", update(service=half, update_mask=half_mask)),
            _missing("SERVICE", update(service=Service(name=f"{DEFAULT}/services/none"))),
            _missing("NAMESPACE", update(service=Service(name="namespaces/none/services/s"))),
            _stale(update(service=Service(name=SERVICE, etag=STALE))),
            _mask(update(service=Service(name=SERVICE), update_mask=FieldMask(paths=["status"]))),
            _mask(update(service=Service(name=SERVICE), update_mask=FieldMask(paths=["metadata.key"]))),
        ],
    )
    yield (
        "DeleteService",
        [
            *_names("name", delete, "/services/s"),
            _missing("SERVICE", delete(name=f"{DEFAULT}/services/none")),
            _stale(delete(name=SERVICE, etag=STALE, force=True)),
            _refused(Code.FAILED_PRECONDITION, "NOT_EMPTY", delete(name=SERVICE)),
        ],
    )


def _registrations(kind: Any, world: World) -> Iterator[Case]:
    """What both ways of registering refuse."""
    for field, bad in _bad_endpoints():
        yield _field(f"endpoints[1].{field}", kind(endpoints=[endpoint("new"), bad]))
    yield _field("endpoints[1].name", kind(endpoints=[endpoint("new"), endpoint("new")], allow_missing_service=True))
    yield _field("endpoints", kind(endpoints=[endpoint(f"e{i}") for i in range(401)]))
    for ttl in (Duration(seconds=-1), Duration(nanos=1), Duration(seconds=86_401), Duration(seconds=1, nanos=-1)):
        yield _field("lease_ttl", kind(endpoints=[endpoint("new")], lease_ttl=ttl))
    yield _field("lease_key", kind(endpoints=[endpoint("new")], lease_key="k" * 129))
    new = [endpoint("new", service=f"{DEFAULT}/services/none")]
    yield _missing("SERVICE", kind(endpoints=new))
    elsewhere = [endpoint("new", service="namespaces/none/services/s")]
    yield _missing("NAMESPACE", kind(endpoints=elsewhere, allow_missing_service=True))
    yield _missing("LEASE", kind(endpoints=[endpoint("new")], lease_key="nobody.knows"))
    wrong = kind(endpoints=[endpoint("new")], lease_key=world.wrong_key)
    yield _refused(Code.PERMISSION_DENIED, "LEASE_NOT_YOURS", wrong)
    held = kind(endpoints=[endpoint("new"), endpoint("theirs", port=81)])
    yield _refused(Code.ALREADY_EXISTS, "ENDPOINT_HELD", held)
    stale = endpoint("new")
    stale.etag = STALE
    yield _stale(kind(endpoints=[stale]))


def _leases(world: World) -> Iterator[tuple[str, list[Case]]]:
    register, revoke, renew = pb.RegisterEndpointsRequest, pb.RevokeLeaseRequest, pb.RenewLeasesRequest
    yield (
        "RegisterEndpoints",
        [
            *_registrations(register, world),
            _field("endpoints", register()),
            _refused(
                Code.ALREADY_EXISTS,
                "ENDPOINT_HELD",
                register(lease_key=world.other_key, endpoints=[endpoint("new"), endpoint("mine")]),
            ),
        ],
    )
    yield (
        "HoldLease",
        [
            *_registrations(pb.HoldLeaseRequest, world),
            _field("deregister[0]", pb.HoldLeaseRequest(deregister=["x"])),
            _field("deregister", pb.HoldLeaseRequest(deregister=[MINE] * 401)),
            _field("deregister[0]", pb.HoldLeaseRequest(endpoints=[endpoint("new")], deregister=[NEW])),
            _missing("ENDPOINT", pb.HoldLeaseRequest(endpoints=[endpoint("new")], deregister=[NONE])),
            _refused(
                Code.PERMISSION_DENIED,
                "LEASE_NOT_YOURS",
                pb.HoldLeaseRequest(lease_key=world.key, endpoints=[endpoint("new")], deregister=[THEIRS]),
            ),
            _refused(
                Code.ALREADY_EXISTS,
                "ENDPOINT_HELD",
                pb.HoldLeaseRequest(lease_key=world.key, endpoints=[endpoint("new"), endpoint("theirs")]),
            ),
        ],
    )
    yield (
        "RenewLeases",
        [
            _field("lease_keys", renew()),
            _field("lease_keys[1]", renew(lease_keys=[world.key, ""])),
            _field("lease_keys[0]", renew(lease_keys=["k" * 129])),
            _field("lease_keys", renew(lease_keys=["k"] * 20_001)),
        ],
    )
    yield (
        "RevokeLease",
        [
            _field("lease_key", revoke()),
            _field("lease_key", revoke(lease_key="k" * 129)),
            _missing("LEASE", revoke(lease_key="nobody.knows")),
            _missing("LEASE", revoke(lease_key=world.lease)),
            _refused(Code.PERMISSION_DENIED, "LEASE_NOT_YOURS", revoke(lease_key=world.wrong_key)),
        ],
    )


def _endpoints(world: World) -> Iterator[tuple[str, list[Case]]]:
    update, delete, deregister = pb.UpdateEndpointRequest, pb.DeleteEndpointRequest, pb.DeregisterEndpointsRequest
    yield (
        "UpdateEndpoint",
        [
            _field("", update()),
            *(_field("", update(endpoint=Endpoint(name=f"{name}/services/s/endpoints/e"))) for name in MALFORMED),
            *(_field(f"endpoint.{f}", update(endpoint=bad)) for f, bad in _bad_endpoints() if f != "name"),
            _missing("ENDPOINT", update(endpoint=Endpoint(name=NONE, port=1), update_mask=FieldMask(paths=["port"]))),
            _stale(update(endpoint=Endpoint(name=MINE, etag=STALE), update_mask=FieldMask(paths=["version"]))),
            _mask(update(endpoint=Endpoint(name=MINE), update_mask=FieldMask(paths=["lease"]))),
            _mask(update(endpoint=Endpoint(name=MINE), update_mask=FieldMask(paths=["tags.0"]))),
        ],
    )
    yield (
        "DeregisterEndpoints",
        [
            _field("lease_key", deregister(names=[MINE])),
            _field("names", deregister(lease_key=world.key)),
            _field("names[1]", deregister(lease_key=world.key, names=[MINE, SERVICE])),
            _field("names", deregister(lease_key=world.key, names=[MINE] * 401)),
            _missing("LEASE", deregister(lease_key="nobody.knows", names=[MINE])),
            _missing("ENDPOINT", deregister(lease_key=world.key, names=[MINE, NONE])),
            _refused(
                Code.PERMISSION_DENIED, "LEASE_NOT_YOURS", deregister(lease_key=world.other_key, names=[THEIRS, MINE])
            ),
            _refused(Code.PERMISSION_DENIED, "LEASE_NOT_YOURS", deregister(lease_key=world.wrong_key, names=[MINE])),
        ],
    )
    yield (
        "DeleteEndpoint",
        [
            *_names("name", delete, "/services/s/endpoints/e"),
            _missing("ENDPOINT", delete(name=NONE)),
            _missing("SERVICE", delete(name=f"{DEFAULT}/services/none/endpoints/e")),
            _stale(delete(name=MINE, etag=STALE)),
            _field("etag", delete(name=MINE, etag="e" * 65)),
        ],
    )


def _reports(world: World) -> Iterator[tuple[str, list[Case]]]:
    health, load = pb.ReportHealthRequest, pb.ReportLoadRequest
    well = pb.HealthReport(name=TOLD, state=2)  # type: ignore[arg-type]  # SERVING
    unknown = [pb.HealthReport(name=TOLD, state=state) for state in (0, 4, 5, 99)]  # type: ignore[arg-type]  # as is
    probed = pb.HealthReport(name=MINE, state=2)  # type: ignore[arg-type]  # SERVING
    yield (
        "ReportHealth",
        [
            _field("lease_key", health(reports=[well])),
            _field("reports", health(lease_key=world.key)),
            *(_field("reports[0].state", health(lease_key=world.key, reports=[bad])) for bad in unknown),
            _missing("LEASE", health(lease_key="nobody.knows", reports=[well])),
            _refused(Code.PERMISSION_DENIED, "LEASE_NOT_YOURS", health(lease_key=world.other_key, reports=[well])),
            _refused(Code.PERMISSION_DENIED, "LEASE_NOT_YOURS", health(lease_key=world.wrong_key, reports=[well])),
            _refused(Code.FAILED_PRECONDITION, "NO_TTL_CHECK", health(lease_key=world.key, reports=[well, probed])),
        ],
    )
    yield (
        "ReportLoad",
        [
            _missing("LEASE", load()),
            _missing("LEASE", load(lease_key="nobody.knows", loads=[EndpointLoad(name=MINE)])),
            _refused(Code.PERMISSION_DENIED, "LEASE_NOT_YOURS", load(lease_key=world.wrong_key)),
            _refused(
                Code.PERMISSION_DENIED,
                "LEASE_NOT_YOURS",
                load(lease_key=world.key),
                load(loads=[EndpointLoad(name=MINE), EndpointLoad(name=THEIRS)]),
            ),
            _field("loads[0].utilization", load(loads=[EndpointLoad(name=MINE, utilization=-1)])),
            _field("loads[0].utilization", load(loads=[EndpointLoad(name=MINE, utilization=float("nan"))])),
            _field("loads[0].name", load(lease_key=world.key), load(loads=[EndpointLoad(name="x")])),
            _field("loads", load(loads=[EndpointLoad(name=MINE)] * 401)),
        ],
    )


def _drains() -> Iterator[tuple[str, list[Case]]]:
    drain, cancel = pb.DrainRequest, pb.CancelDrainRequest
    yield (
        "Drain",
        [
            _field("names", drain()),
            _field("names[0]", drain(names=["x"])),
            _field("timeout", drain(names=[MINE], timeout=Duration(seconds=-1))),
            _field("timeout", drain(names=[MINE], timeout=Duration(seconds=3601))),
            _field("cause", drain(names=[MINE], cause="x" * 1025)),
            _field("locality.zone", drain(names=[MINE], locality=Locality(zone="z" * 64))),
            _missing("ENDPOINT", drain(names=[MINE, NONE])),
            _missing("SERVICE", drain(names=[SERVICE, f"{DEFAULT}/services/none"])),
            _missing("NAMESPACE", drain(names=["namespaces/none/services/s"])),
        ],
    )
    yield (
        "CancelDrain",
        [
            _field("names", cancel()),
            _field("names[0]", cancel(names=[SERVICE])),
            _missing("ENDPOINT", cancel(names=[MINE, NONE])),
        ],
    )


def _lists(kind: Any, world: World, **fields: Any) -> Iterator[Case]:
    """What every list refuses."""
    for text in ("port >", "nope = 1", "name = a AND", 'name = "'):
        yield _refused(Code.INVALID_ARGUMENT, "INVALID_FILTER", kind(filter=text, **fields))
    yield _field("filter", kind(filter="x" * 2049, **fields))
    for token in ("abc", world.page_token):
        yield _refused(Code.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", kind(page_token=token, filter="name:a", **fields))
    yield _field("page_token", kind(page_token="x" * 1025, **fields))
    yield _mask(kind(read_mask=FieldMask(paths=["nope"]), **fields))


def _reads(world: World) -> Iterator[tuple[str, list[Case]]]:
    none = "namespaces/none"
    nope = FieldMask(paths=["nope"])
    yield (
        "GetNamespace",
        [
            *_names("name", read.GetNamespaceRequest),
            _missing("NAMESPACE", read.GetNamespaceRequest(name=none)),
            _mask(read.GetNamespaceRequest(name=DEFAULT, read_mask=nope)),
        ],
    )
    yield (
        "GetService",
        [
            *_names("name", read.GetServiceRequest, "/services/s"),
            _missing("SERVICE", read.GetServiceRequest(name=f"{DEFAULT}/services/none")),
            _missing("NAMESPACE", read.GetServiceRequest(name=f"{none}/services/s")),
            _mask(read.GetServiceRequest(name=SERVICE, read_mask=nope)),
        ],
    )
    yield (
        "GetEndpoint",
        [
            *_names("name", read.GetEndpointRequest, "/services/s/endpoints/e"),
            _missing("ENDPOINT", read.GetEndpointRequest(name=f"{SERVICE}/endpoints/none")),
            _mask(read.GetEndpointRequest(name=MINE, read_mask=nope)),
        ],
    )
    yield (
        "GetLease",
        [
            _field("name", read.GetLeaseRequest()),
            _field("name", read.GetLeaseRequest(name="leases/UP")),
            _missing("LEASE", read.GetLeaseRequest(name="leases/none")),
            _mask(read.GetLeaseRequest(name=world.lease, read_mask=nope)),
        ],
    )
    yield "ListNamespaces", list(_lists(read.ListNamespacesRequest, world))
    yield (
        "ListServices",
        [
            *_lists(read.ListServicesRequest, world, parent="namespaces/-"),
            *_names("parent", read.ListServicesRequest),
            _missing("NAMESPACE", read.ListServicesRequest(parent=none)),
        ],
    )
    yield (
        "ListEndpoints",
        [
            *_lists(read.ListEndpointsRequest, world, parent=SERVICE),
            *_names("parent", read.ListEndpointsRequest, "/services/s"),
            _missing("SERVICE", read.ListEndpointsRequest(parent=f"{DEFAULT}/services/none")),
            _missing("NAMESPACE", read.ListEndpointsRequest(parent=f"{none}/services/-")),
        ],
    )
    yield "ListLeases", list(_lists(read.ListLeasesRequest, world))
    token = read.ListEventsRequest(page_token="abc")
    yield (
        "ListEvents",
        [
            _refused(Code.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", token),
            _field("resource", read.ListEventsRequest(resource="r" * 256)),
        ],
    )


def _callers() -> Iterator[tuple[str, list[Case]]]:
    resolve, watch = read.ResolveRequest, read.WatchRequest
    both = [
        (_missing, "SERVICE", f"{DEFAULT}/services/none"),
        (_missing, "NAMESPACE", "namespaces/none/services/s"),
    ]
    yield (
        "Resolve",
        [
            *_names("service", resolve, "/services/s"),
            *(case(reason, resolve(service=name)) for case, reason, name in both),
            _field("client_id", resolve(service=SERVICE, client_id="c" * 256)),
            _field("hash_key", resolve(service=SERVICE, hash_key="h" * 1025)),
            _field("limit", resolve(service=SERVICE, limit=100_001)),
            _field("locality.region", resolve(service=SERVICE, locality=Locality(region="/"))),
        ],
    )
    yield (
        "Watch",
        [
            *_names("service", watch, "/services/s"),
            *(case(reason, watch(service=name)) for case, reason, name in both),
            _field("start_revision", watch(service=SERVICE, start_revision=-1)),
            _refused(Code.OUT_OF_RANGE, "REVISION_AHEAD", watch(service=SERVICE, start_revision=1 << 62)),
            _refused(Code.OUT_OF_RANGE, "REVISION_COMPACTED", watch(service=SERVICE, start_revision=1)),
        ],
    )


def cases(world: World) -> Mapping[str, list[Case]]:
    """What must be refused, by the full name of the RPC."""
    found = {"sira.kernel.v1.KernelService/GetStatus": list[Case]()}  # its request has no field that could be wrong
    for part in (_namespaces(), _services(), _leases(world), _endpoints(world), _reports(world), _drains()):
        found.update((f"sira.registry.v1.RegistryService/{name}", given) for name, given in part)
    for part in (_reads(world), _callers()):
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
