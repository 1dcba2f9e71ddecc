from __future__ import annotations

from collections.abc import Callable, Collection

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.v1.access_policy_pb2 import AccessPolicy, AllowRule
from sira.registry.v1.route_pb2 import Destination, Mirror, Route, Split
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import TlsMode, TrafficPolicy

from sira_grpc.errors import InvalidField, NotEmpty, PolicyNotSupported
from sira_grpc.registry.policy_checks import destinations
from tests.unit.registry.world import DEFAULT, SERVICE, World, endpoint

OTHER = f"{DEFAULT}/services/other"
POLICY = FieldMask(paths=["traffic_policy"])


def split(service: str, version: str = "") -> Split:
    return Split(weight=1, destination=Destination(service=service, version=version))


def test_destinations_are_found_wherever_they_are() -> None:
    policy = TrafficPolicy(
        mirror=Mirror(destination=Destination(service=OTHER), percent=1),
        routes=[
            Route(splits=[Split(weight=1), split("", version="v2")]),
            Route(mirror=Mirror(destination=Destination(version="v3"), percent=1)),
        ],
    )
    assert [(path, found.service or found.version) for path, found in destinations(policy)] == [
        ("mirror.destination", OTHER),
        ("routes[0].splits[1].destination", "v2"),
        ("routes[1].mirror.destination", "v3"),
    ]


async def test_calls_are_sent_only_to_services_that_are_there(world: World) -> None:
    catalog = world.registry.catalog
    service = Service(name=SERVICE, traffic_policy=TrafficPolicy(routes=[Route(splits=[split(OTHER)])]))
    with pytest.raises(InvalidField) as refused:
        await catalog.create_service(service, actor="")
    assert refused.value.violations[0].field == "service.traffic_policy.routes[0].splits[0].destination.service"
    assert SERVICE not in world.registry.view.services
    await catalog.create_service(Service(name=SERVICE), actor="")
    with pytest.raises(InvalidField):
        await catalog.update_service(service, POLICY, actor="")
    await catalog.create_service(Service(name=OTHER), actor="")
    written = (await catalog.update_service(service, POLICY, actor="")).message
    assert written.traffic_policy == service.traffic_policy


async def test_a_service_may_send_calls_to_itself(world: World) -> None:
    policy = TrafficPolicy(routes=[Route(splits=[split(SERVICE, version="v1"), split("", version="v2")])])
    created = await world.registry.catalog.create_service(Service(name=SERVICE, traffic_policy=policy), actor="")
    assert created.message.traffic_policy == policy


async def test_who_checks_policies_may_refuse_them_and_nothing_is_written(world: World) -> None:
    catalog = world.registry.catalog
    await catalog.create_service(Service(name=SERVICE), actor="")

    def check(service: Service) -> None:
        if service.traffic_policy.subset_size:
            raise PolicyNotSupported("no subsets here")

    catalog.policy_checks.append(check)
    service = Service(name=SERVICE, traffic_policy=TrafficPolicy(subset_size=1))
    with pytest.raises(PolicyNotSupported):
        await catalog.update_service(service, POLICY, actor="")
    assert not world.registry.view.services[SERVICE].message.traffic_policy.subset_size
    with pytest.raises(PolicyNotSupported):
        await catalog.create_service(Service(name=OTHER, traffic_policy=service.traffic_policy), actor="")
    assert OTHER not in world.registry.view.services


async def test_who_may_call_needs_callers_with_identities(world: World) -> None:
    catalog = world.registry.catalog
    await catalog.create_service(Service(name=SERVICE), actor="")
    access = AccessPolicy(allow=[AllowRule(sources=[OTHER])])
    with pytest.raises(InvalidField) as refused:
        await catalog.update_service(
            Service(name=SERVICE, access_policy=access), FieldMask(paths=["access_policy"]), actor=""
        )
    assert "TLS_MODE_MUTUAL" in str(refused.value)
    both = Service(name=SERVICE, access_policy=access, traffic_policy=TrafficPolicy(tls=TlsMode.TLS_MODE_MUTUAL))
    written = await catalog.update_service(both, FieldMask(paths=["access_policy", "traffic_policy.tls"]), actor="")
    assert written.message.access_policy == access
    fewer = Service(name=SERVICE, access_policy=AccessPolicy())
    written = await catalog.update_service(fewer, FieldMask(paths=["access_policy"]), actor="")
    assert written.message.access_policy == AccessPolicy(), "what is there already counts"
    with pytest.raises(InvalidField):
        await catalog.update_service(Service(name=SERVICE), FieldMask(paths=["traffic_policy.tls"]), actor="")


async def test_changed_services_are_told_once_a_commit_and_gone_ones_too(world: World) -> None:
    told: list[set[str]] = []
    note: Callable[[Collection[str]], None] = lambda services: told.append(set(services))  # noqa: E731  a hook
    world.registry.view.hooks.services_changed.append(note)
    catalog = world.registry.catalog
    await catalog.create_service(Service(name=SERVICE), actor="")
    assert told == [{SERVICE}]
    told.clear()
    await world.register(endpoint("a"), endpoint("b"))
    assert told == [{SERVICE}]
    told.clear()
    await catalog.delete_service(SERVICE, etag="", force=True, actor="")
    assert set().union(*told) == {SERVICE}
    assert SERVICE not in world.registry.view.services


async def test_a_service_that_others_send_calls_to_is_deleted_by_force_only(world: World) -> None:
    catalog = world.registry.catalog
    for name in (OTHER, SERVICE):
        await catalog.create_service(Service(name=name), actor="")
    policies = (
        TrafficPolicy(routes=[Route(splits=[split(OTHER)])]),
        TrafficPolicy(mirror=Mirror(destination=Destination(service=OTHER, version="v2"), percent=1)),
    )
    for policy in policies:
        await catalog.update_service(Service(name=SERVICE, traffic_policy=policy), POLICY, actor="")
        with pytest.raises(NotEmpty, match=f"of 1 services send calls to {OTHER}: {SERVICE};"):
            await catalog.delete_service(OTHER, etag="", force=False, actor="")
    assert OTHER in world.registry.view.services
    await catalog.delete_service(OTHER, etag="", force=True, actor="")
    assert OTHER not in world.registry.view.services
    other = Service(name=SERVICE, metadata={"team": "shop"})
    await catalog.update_service(other, FieldMask(paths=["metadata"]), actor="")
    with pytest.raises(InvalidField, match="is not there"):
        await catalog.update_service(Service(name=SERVICE, traffic_policy=policies[0]), POLICY, actor="")


async def test_what_sends_calls_to_itself_is_deleted_without_force(world: World) -> None:
    catalog = world.registry.catalog
    policy = TrafficPolicy(routes=[Route(splits=[split(SERVICE, version="v1")])])
    await catalog.create_service(Service(name=SERVICE, traffic_policy=policy), actor="")
    await catalog.delete_service(SERVICE, etag="", force=False, actor="")
    assert SERVICE not in world.registry.view.services
