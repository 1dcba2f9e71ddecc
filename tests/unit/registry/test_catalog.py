from __future__ import annotations

import asyncio

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.v1.event_pb2 import EventType
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, SlowStart, TrafficPolicy

from sira_grpc.errors import (
    AlreadyExists,
    EtagMismatch,
    InvalidField,
    InvalidFieldMask,
    NamespaceNotFound,
    NotEmpty,
    ServiceNotFound,
)
from sira_grpc.registry.catalog import Catalog
from tests.unit.registry.world import DEFAULT, SERVICE, World, endpoint

NAMESPACE = "namespaces/n"


@pytest.fixture
def catalog(world: World) -> Catalog:
    return world.registry.catalog


async def test_a_namespace_lives_from_its_creation_to_its_deletion(world: World, catalog: Catalog) -> None:
    created = (await catalog.create_namespace(Namespace(name=NAMESPACE, etag="ignored"), actor="me")).message
    assert created.create_time.ToNanoseconds() == created.update_time.ToNanoseconds() == world.clock.time_ns()
    with pytest.raises(AlreadyExists):
        await catalog.create_namespace(Namespace(name=NAMESPACE), actor="")
    world.clock.advance(1)
    given = Namespace(name=NAMESPACE, description="d", metadata={"k": "v"}, etag=created.etag)
    updated = (await catalog.update_namespace(given, FieldMask(paths=["description"]), actor="me")).message
    assert (updated.description, dict(updated.metadata)) == ("d", {})
    assert updated.create_time.ToNanoseconds() < updated.update_time.ToNanoseconds()
    with pytest.raises(EtagMismatch):
        await catalog.update_namespace(given, FieldMask(), actor="")
    with pytest.raises(InvalidFieldMask):
        await catalog.update_namespace(Namespace(name=NAMESPACE), FieldMask(paths=["name"]), actor="")
    with pytest.raises(EtagMismatch):
        await catalog.delete_namespace(NAMESPACE, etag=given.etag, force=False, actor="")
    await catalog.delete_namespace(NAMESPACE, etag=updated.etag, force=False, actor="me")
    for gone in (
        catalog.delete_namespace(NAMESPACE, etag="", force=True, actor=""),
        catalog.update_namespace(given, FieldMask(), actor=""),
    ):
        with pytest.raises(NamespaceNotFound):
            await gone
    told = [(e.type, e.actor) for _, e in world.registry.events.latest(below=0, resource=NAMESPACE)]
    assert told == [
        (EventType.EVENT_TYPE_DELETED, "me"),
        (EventType.EVENT_TYPE_UPDATED, "me"),
        (EventType.EVENT_TYPE_CREATED, "me"),
    ]


async def test_a_service_lives_from_its_creation_to_its_deletion(world: World, catalog: Catalog) -> None:
    with pytest.raises(NamespaceNotFound):
        await catalog.create_service(Service(name=f"{NAMESPACE}/services/s"), actor="")
    given = Service(name=SERVICE, metadata={"k": "v"})
    given.status.endpoints = 7
    created = (await catalog.create_service(given, actor="")).message
    assert not created.HasField("status")
    with pytest.raises(AlreadyExists):
        await catalog.create_service(Service(name=SERVICE), actor="")
    change = Service(name=SERVICE, traffic_policy=TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_RANDOM))
    updated = (await catalog.update_service(change, FieldMask(paths=["traffic_policy.lb_policy"]), actor="")).message
    assert updated.traffic_policy == change.traffic_policy
    assert dict(updated.metadata) == {"k": "v"}
    change.etag = created.etag
    for stale in (
        catalog.update_service(change, FieldMask(), actor=""),
        catalog.delete_service(SERVICE, etag=created.etag, force=True, actor=""),
    ):
        with pytest.raises(EtagMismatch):
            await stale
    await catalog.delete_service(SERVICE, etag=updated.etag, force=False, actor="")
    for gone in (
        catalog.delete_service(SERVICE, etag="", force=True, actor=""),
        catalog.update_service(Service(name=SERVICE), FieldMask(), actor=""),
    ):
        with pytest.raises(ServiceNotFound):
            await gone


async def test_half_of_a_policy_that_is_right_as_a_whole_only_is_refused(world: World, catalog: Catalog) -> None:
    await world.service()
    before = world.store.revision
    ramp = SlowStart(aggression=2.0)
    ramp.window.FromSeconds(10)
    given = Service(name=SERVICE, traffic_policy=TrafficPolicy(slow_start=ramp))
    with pytest.raises(InvalidField) as error:
        await catalog.update_service(given, FieldMask(paths=["traffic_policy.slow_start.aggression"]), actor="")
    assert [v.field for v in error.value.violations] == ["service.traffic_policy.slow_start.window"]
    assert world.store.revision == before


async def test_what_is_not_empty_is_deleted_by_force_only(world: World, catalog: Catalog) -> None:
    await world.register(endpoint("a"), endpoint("b"))
    with pytest.raises(NotEmpty, match="2 endpoints"):
        await catalog.delete_service(SERVICE, etag="", force=False, actor="")
    with pytest.raises(NotEmpty, match="1 services"):
        await catalog.delete_namespace(DEFAULT, etag="", force=False, actor="")
    assert world.registered() == {"a", "b"}
    await catalog.delete_namespace(DEFAULT, etag="", force=True, actor="")
    assert not world.registry.view.services
    assert [entry.endpoints for entry in world.registry.view.leases.values()] == [set()]
    snapshot = await world.store.snapshot("registry/")
    assert [e.key.split("/")[1] for e in snapshot.entries] == ["leases"]


async def test_a_large_service_is_deleted_whole(world: World, catalog: Catalog) -> None:
    for part in "xyz":
        await world.register(*(endpoint(f"{part}{i}") for i in range(300)))
    etag = world.registry.view.services[SERVICE].message.etag
    await catalog.delete_service(SERVICE, etag=etag, force=True, actor="")
    assert not world.registry.view.services
    assert len(world.events(EventType.EVENT_TYPE_DELETED)) == 901


async def test_a_service_is_not_deleted_under_what_is_being_registered(world: World, catalog: Catalog) -> None:
    await world.service()
    world.store.shut()
    registering = asyncio.create_task(world.register(endpoint("a")))
    await world.store.arrived()
    deleting = asyncio.create_task(catalog.delete_service(SERVICE, etag="", force=False, actor=""))
    await world.turns()
    with pytest.raises(ServiceNotFound, match="is being deleted"):
        await world.register(endpoint("b"))
    world.store.open()
    await registering
    with pytest.raises(NotEmpty):
        await deleting
    assert world.registered() == {"a"}


async def test_a_namespace_is_not_deleted_under_a_service_that_is_being_created(world: World, catalog: Catalog) -> None:
    await catalog.create_namespace(Namespace(name=NAMESPACE), actor="")
    world.store.shut()
    creating = asyncio.create_task(world.service(f"{NAMESPACE}/services/s"))
    await world.store.arrived()
    deleting = asyncio.create_task(catalog.delete_namespace(NAMESPACE, etag="", force=False, actor=""))
    await world.turns()
    with pytest.raises(NamespaceNotFound, match="is being deleted"):
        await world.service(f"{NAMESPACE}/services/t")
    world.store.open()
    await creating
    with pytest.raises(NotEmpty):
        await deleting


async def test_two_who_delete_one_service_do_it_once(world: World, catalog: Catalog) -> None:
    await world.register(endpoint("a"))
    outcomes = await asyncio.gather(
        catalog.delete_service(SERVICE, etag="", force=True, actor=""),
        catalog.delete_service(SERVICE, etag="", force=True, actor=""),
        catalog.delete_namespace(DEFAULT, etag="", force=True, actor=""),
        return_exceptions=True,
    )
    assert [type(o) for o in outcomes if isinstance(o, Exception)] == [ServiceNotFound]
    assert DEFAULT not in world.registry.view.namespaces
    assert len(world.events(EventType.EVENT_TYPE_DELETED, SERVICE)) == 2


async def test_many_who_update_one_service_all_get_through(world: World, catalog: Catalog) -> None:
    await world.service()

    async def update(i: int) -> None:
        given = Service(name=SERVICE, metadata={f"k{i}": "v"}, description=str(i))
        await catalog.update_service(given, FieldMask(paths=["description"]), actor="")

    await asyncio.gather(*(update(i) for i in range(5)))
    assert len(world.events(EventType.EVENT_TYPE_UPDATED, SERVICE)) == 5
