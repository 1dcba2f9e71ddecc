"""What the RPCs that write the registry must refuse."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.v1 import registry_service_pb2 as pb
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthCheck, HttpCheck, TtlCheck
from sira.registry.v1.load_pb2 import EndpointLoad
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.outlier_detection_pb2 import OutlierDetection, SuccessRate
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import LocalityFailover, SlowStart, TrafficPolicy

from tests.integration.registry_kernel import SERVICE, endpoint
from tests.integration.registry_world import (
    DEFAULT,
    MALFORMED,
    MINE,
    NEW,
    NONE,
    STALE,
    THEIRS,
    TOLD,
    Case,
    Code,
    World,
    broken,
    malformed,
    missing,
    oversized,
    refused,
    stale,
    wrong_mask,
)


def _bad_endpoints() -> Iterator[tuple[str, Endpoint]]:
    """Endpoints that break a rule, and the field."""
    yield from oversized(Endpoint, name=MINE, addresses=["a"], port=1)
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
    yield "locality_failover.threshold", TrafficPolicy(locality_failover=LocalityFailover(threshold=1e-9))
    often = OutlierDetection(interval=Duration(nanos=1), success_rate=SuccessRate())
    yield "outlier_detection.interval", TrafficPolicy(outlier_detection=often)


def namespaces() -> Iterator[tuple[str, list[Case]]]:
    create, update, delete = pb.CreateNamespaceRequest, pb.UpdateNamespaceRequest, pb.DeleteNamespaceRequest
    bad = list(oversized(Namespace, name="namespaces/n"))
    bad += [("name", Namespace(name=name)) for name in MALFORMED]
    bad += [("description", Namespace(name="namespaces/n", description="x" * 1025))]
    yield (
        "CreateNamespace",
        [
            broken("namespace", create()),
            *(broken(f"namespace.{field}", create(namespace=n)) for field, n in bad),
            refused(Code.ALREADY_EXISTS, "ALREADY_EXISTS", create(namespace=Namespace(name=DEFAULT))),
        ],
    )
    yield (
        "UpdateNamespace",
        [
            broken("namespace", update()),
            *(broken(f"namespace.{field}", update(namespace=n)) for field, n in bad),
            missing("NAMESPACE", update(namespace=Namespace(name="namespaces/none"))),
            stale(update(namespace=Namespace(name=DEFAULT, etag=STALE))),
            wrong_mask(update(namespace=Namespace(name=DEFAULT), update_mask=FieldMask(paths=["nope"]))),
            wrong_mask(update(namespace=Namespace(name=DEFAULT), update_mask=FieldMask(paths=["name"]))),
        ],
    )
    yield (
        "DeleteNamespace",
        [
            *malformed("name", delete),
            missing("NAMESPACE", delete(name="namespaces/none", force=True)),
            stale(delete(name=DEFAULT, etag=STALE, force=True)),
            refused(Code.FAILED_PRECONDITION, "NOT_EMPTY", delete(name=DEFAULT)),
        ],
    )


def services() -> Iterator[tuple[str, list[Case]]]:
    create, update, delete = pb.CreateServiceRequest, pb.UpdateServiceRequest, pb.DeleteServiceRequest
    bad = list(oversized(Service, name=SERVICE))
    bad += [("name", Service(name=f"{name}/services/s")) for name in MALFORMED]
    bad += [(f"traffic_policy.{field}", Service(name=SERVICE, traffic_policy=p)) for field, p in _policies()]
    half = Service(name=SERVICE, traffic_policy=TrafficPolicy(slow_start=SlowStart(window=Duration(seconds=1))))
    half_mask = FieldMask(paths=["traffic_policy.slow_start.aggression"])
    yield (
        "CreateService",
        [
            broken("service", create()),
            *(broken(f"service.{field}", create(service=s)) for field, s in bad),
            missing("NAMESPACE", create(service=Service(name="namespaces/none/services/s"))),
            refused(Code.ALREADY_EXISTS, "ALREADY_EXISTS", create(service=Service(name=SERVICE))),
        ],
    )
    yield (
        "UpdateService",
        [
            broken("service", update()),
            *(broken(f"service.{field}", update(service=s)) for field, s in bad),
            broken("service.traffic_policy.slow_start.window", update(service=half, update_mask=half_mask)),
            missing("SERVICE", update(service=Service(name=f"{DEFAULT}/services/none"))),
            missing("NAMESPACE", update(service=Service(name="namespaces/none/services/s"))),
            stale(update(service=Service(name=SERVICE, etag=STALE))),
            wrong_mask(update(service=Service(name=SERVICE), update_mask=FieldMask(paths=["status"]))),
            wrong_mask(update(service=Service(name=SERVICE), update_mask=FieldMask(paths=["metadata.key"]))),
        ],
    )
    yield (
        "DeleteService",
        [
            *malformed("name", delete, "/services/s"),
            missing("SERVICE", delete(name=f"{DEFAULT}/services/none")),
            stale(delete(name=SERVICE, etag=STALE, force=True)),
            refused(Code.FAILED_PRECONDITION, "NOT_EMPTY", delete(name=SERVICE)),
        ],
    )


def _registrations(kind: Any, world: World) -> Iterator[Case]:
    """What both ways of registering refuse."""
    for field, bad in _bad_endpoints():
        yield broken(f"endpoints[1].{field}", kind(endpoints=[endpoint("new"), bad]))
    yield broken("endpoints[1].name", kind(endpoints=[endpoint("new"), endpoint("new")], allow_missing_service=True))
    yield broken("endpoints", kind(endpoints=[endpoint(f"e{i}") for i in range(401)]))
    for ttl in (Duration(seconds=-1), Duration(nanos=1), Duration(seconds=86_401), Duration(seconds=1, nanos=-1)):
        yield broken("lease_ttl", kind(endpoints=[endpoint("new")], lease_ttl=ttl))
    yield broken("lease_key", kind(endpoints=[endpoint("new")], lease_key="k" * 129))
    new = [endpoint("new", service=f"{DEFAULT}/services/none")]
    yield missing("SERVICE", kind(endpoints=new))
    elsewhere = [endpoint("new", service="namespaces/none/services/s")]
    yield missing("NAMESPACE", kind(endpoints=elsewhere, allow_missing_service=True))
    yield missing("LEASE", kind(endpoints=[endpoint("new")], lease_key="nobody.knows"))
    wrong = kind(endpoints=[endpoint("new")], lease_key=world.wrong_key)
    yield refused(Code.PERMISSION_DENIED, "LEASE_NOT_YOURS", wrong)
    held = kind(endpoints=[endpoint("new"), endpoint("theirs", port=81)])
    yield refused(Code.ALREADY_EXISTS, "ENDPOINT_HELD", held)
    outdated = endpoint("new")
    outdated.etag = STALE
    yield stale(kind(endpoints=[outdated]))


def leases(world: World) -> Iterator[tuple[str, list[Case]]]:
    register, revoke, renew = pb.RegisterEndpointsRequest, pb.RevokeLeaseRequest, pb.RenewLeasesRequest
    yield (
        "RegisterEndpoints",
        [
            *_registrations(register, world),
            broken("endpoints", register()),
            refused(
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
            broken("deregister[0]", pb.HoldLeaseRequest(deregister=["x"])),
            broken("deregister", pb.HoldLeaseRequest(deregister=[MINE] * 401)),
            broken("deregister[0]", pb.HoldLeaseRequest(endpoints=[endpoint("new")], deregister=[NEW])),
            missing("ENDPOINT", pb.HoldLeaseRequest(endpoints=[endpoint("new")], deregister=[NONE])),
            refused(
                Code.PERMISSION_DENIED,
                "LEASE_NOT_YOURS",
                pb.HoldLeaseRequest(lease_key=world.key, endpoints=[endpoint("new")], deregister=[THEIRS]),
            ),
            refused(
                Code.ALREADY_EXISTS,
                "ENDPOINT_HELD",
                pb.HoldLeaseRequest(lease_key=world.key, endpoints=[endpoint("new"), endpoint("theirs")]),
            ),
        ],
    )
    yield (
        "RenewLeases",
        [
            broken("lease_keys", renew()),
            broken("lease_keys[1]", renew(lease_keys=[world.key, ""])),
            broken("lease_keys[0]", renew(lease_keys=["k" * 129])),
            broken("lease_keys", renew(lease_keys=["k"] * 20_001)),
        ],
    )
    yield (
        "RevokeLease",
        [
            broken("lease_key", revoke()),
            broken("lease_key", revoke(lease_key="k" * 129)),
            missing("LEASE", revoke(lease_key="nobody.knows")),
            missing("LEASE", revoke(lease_key=world.lease)),
            refused(Code.PERMISSION_DENIED, "LEASE_NOT_YOURS", revoke(lease_key=world.wrong_key)),
        ],
    )


def endpoints(world: World) -> Iterator[tuple[str, list[Case]]]:
    update, delete, deregister = pb.UpdateEndpointRequest, pb.DeleteEndpointRequest, pb.DeregisterEndpointsRequest
    yield (
        "UpdateEndpoint",
        [
            broken("", update()),
            *(broken("", update(endpoint=Endpoint(name=f"{name}/services/s/endpoints/e"))) for name in MALFORMED),
            *(broken(f"endpoint.{f}", update(endpoint=bad)) for f, bad in _bad_endpoints() if f != "name"),
            missing("ENDPOINT", update(endpoint=Endpoint(name=NONE, port=1), update_mask=FieldMask(paths=["port"]))),
            stale(update(endpoint=Endpoint(name=MINE, etag=STALE), update_mask=FieldMask(paths=["version"]))),
            wrong_mask(update(endpoint=Endpoint(name=MINE), update_mask=FieldMask(paths=["lease"]))),
            wrong_mask(update(endpoint=Endpoint(name=MINE), update_mask=FieldMask(paths=["tags.0"]))),
        ],
    )
    yield (
        "DeregisterEndpoints",
        [
            broken("lease_key", deregister(names=[MINE])),
            broken("names", deregister(lease_key=world.key)),
            broken("names[1]", deregister(lease_key=world.key, names=[MINE, SERVICE])),
            broken("names", deregister(lease_key=world.key, names=[MINE] * 401)),
            missing("LEASE", deregister(lease_key="nobody.knows", names=[MINE])),
            missing("ENDPOINT", deregister(lease_key=world.key, names=[MINE, NONE])),
            refused(
                Code.PERMISSION_DENIED, "LEASE_NOT_YOURS", deregister(lease_key=world.other_key, names=[THEIRS, MINE])
            ),
            refused(Code.PERMISSION_DENIED, "LEASE_NOT_YOURS", deregister(lease_key=world.wrong_key, names=[MINE])),
        ],
    )
    yield (
        "DeleteEndpoint",
        [
            *malformed("name", delete, "/services/s/endpoints/e"),
            missing("ENDPOINT", delete(name=NONE)),
            missing("SERVICE", delete(name=f"{DEFAULT}/services/none/endpoints/e")),
            stale(delete(name=MINE, etag=STALE)),
            broken("etag", delete(name=MINE, etag="e" * 65)),
        ],
    )


def reports(world: World) -> Iterator[tuple[str, list[Case]]]:
    health, load = pb.ReportHealthRequest, pb.ReportLoadRequest
    well = pb.HealthReport(name=TOLD, state=2)  # type: ignore[arg-type]  # SERVING
    unknown = [pb.HealthReport(name=TOLD, state=state) for state in (0, 4, 5, 99)]  # type: ignore[arg-type]  # as is
    probed = pb.HealthReport(name=MINE, state=2)  # type: ignore[arg-type]  # SERVING
    yield (
        "ReportHealth",
        [
            broken("lease_key", health(reports=[well])),
            broken("reports", health(lease_key=world.key)),
            *(broken("reports[0].state", health(lease_key=world.key, reports=[bad])) for bad in unknown),
            missing("LEASE", health(lease_key="nobody.knows", reports=[well])),
            refused(Code.PERMISSION_DENIED, "LEASE_NOT_YOURS", health(lease_key=world.other_key, reports=[well])),
            refused(Code.PERMISSION_DENIED, "LEASE_NOT_YOURS", health(lease_key=world.wrong_key, reports=[well])),
            refused(Code.FAILED_PRECONDITION, "NO_TTL_CHECK", health(lease_key=world.key, reports=[well, probed])),
        ],
    )
    yield (
        "ReportLoad",
        [
            missing("LEASE", load()),
            missing("LEASE", load(lease_key="nobody.knows", loads=[EndpointLoad(name=MINE)])),
            refused(Code.PERMISSION_DENIED, "LEASE_NOT_YOURS", load(lease_key=world.wrong_key)),
            refused(
                Code.PERMISSION_DENIED,
                "LEASE_NOT_YOURS",
                load(lease_key=world.key),
                load(loads=[EndpointLoad(name=MINE), EndpointLoad(name=THEIRS)]),
            ),
            broken("loads[0].utilization", load(loads=[EndpointLoad(name=MINE, utilization=-1)])),
            broken("loads[0].utilization", load(loads=[EndpointLoad(name=MINE, utilization=float("nan"))])),
            broken("loads[0].name", load(lease_key=world.key), load(loads=[EndpointLoad(name="x")])),
            broken("loads", load(loads=[EndpointLoad(name=MINE)] * 401)),
        ],
    )


def drains() -> Iterator[tuple[str, list[Case]]]:
    drain, cancel = pb.DrainRequest, pb.CancelDrainRequest
    yield (
        "Drain",
        [
            broken("names", drain()),
            broken("names[0]", drain(names=["x"])),
            broken("timeout", drain(names=[MINE], timeout=Duration(seconds=-1))),
            broken("timeout", drain(names=[MINE], timeout=Duration(seconds=3601))),
            broken("cause", drain(names=[MINE], cause="x" * 1025)),
            broken("locality.zone", drain(names=[MINE], locality=Locality(zone="z" * 64))),
            missing("ENDPOINT", drain(names=[MINE, NONE])),
            missing("SERVICE", drain(names=[SERVICE, f"{DEFAULT}/services/none"])),
            missing("NAMESPACE", drain(names=["namespaces/none/services/s"])),
        ],
    )
    yield (
        "CancelDrain",
        [
            broken("names", cancel()),
            broken("names[0]", cancel(names=[SERVICE])),
            missing("ENDPOINT", cancel(names=[MINE, NONE])),
        ],
    )
