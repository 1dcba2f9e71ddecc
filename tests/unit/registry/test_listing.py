from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.resolver_service_pb2 import WatchRequest

from sira_grpc.errors import (
    EndpointNotFound,
    InvalidFieldMask,
    InvalidFilter,
    InvalidPageToken,
    LeaseNotFound,
    NamespaceNotFound,
    ServiceNotFound,
)
from sira_grpc.pages import encode_token
from sira_grpc.registry.listing import Listing
from tests.unit.registry.world import DEFAULT, SERVICE, World, endpoint

ALL = FieldMask()


@pytest.fixture
def listing(world: World) -> Listing:
    return world.registry.listing


async def test_a_service_with_its_counts(world: World, listing: Listing) -> None:
    await world.register(endpoint("a"), endpoint("b", check="ttl"))
    stream = world.registry.watching.follow(WatchRequest(service=SERVICE))
    await anext(stream)
    status = listing.service(SERVICE, ALL).status
    assert (status.endpoints, status.healthy_endpoints, status.watchers) == (2, 1, 1)
    assert not status.expiry_paused
    await stream.aclose()
    assert listing.service(SERVICE, FieldMask(paths=["status.watchers"])).status.watchers == 0
    assert not world.registry.view.services[SERVICE].message.HasField("status")


async def test_one_of_each(world: World, listing: Listing) -> None:
    key = await world.register(endpoint("a", port=81))
    lease = f"leases/{key.partition('.')[0]}"
    assert listing.namespace(DEFAULT, FieldMask(paths=["name"])) == Namespace(name=DEFAULT)
    found = listing.endpoint(f"{SERVICE}/endpoints/a", FieldMask(paths=["port", "lease"]))
    assert (found.port, found.lease, found.name) == (81, lease, "")
    assert listing.lease(lease, FieldMask(paths=["endpoints"])).endpoints == 1


async def test_what_is_not_there(listing: Listing, world: World) -> None:
    await world.service()
    missing: list[tuple[type[Exception], Callable[[], object]]] = [
        (NamespaceNotFound, lambda: listing.namespace("namespaces/x", ALL)),
        (ServiceNotFound, lambda: listing.service(f"{DEFAULT}/services/x", ALL)),
        (EndpointNotFound, lambda: listing.endpoint(f"{SERVICE}/endpoints/x", ALL)),
        (LeaseNotFound, lambda: listing.lease("leases/x", ALL)),
        (InvalidFieldMask, lambda: listing.namespace(DEFAULT, FieldMask(paths=["x"]))),
    ]
    for error, read in missing:
        with pytest.raises(error):
            read()
    no_lists: list[tuple[type[Exception], Awaitable[object]]] = [
        (NamespaceNotFound, names_of(listing, services_of="namespaces/x")),
        (NamespaceNotFound, names_of(listing, endpoints_of="namespaces/x/services/-")),
        (NamespaceNotFound, names_of(listing, endpoints_of="namespaces/x/services/y")),
        (ServiceNotFound, names_of(listing, endpoints_of=f"{DEFAULT}/services/y")),
        (InvalidFilter, names_of(listing, services_of=DEFAULT, filter_text="x = 1")),
        (InvalidFieldMask, listing.leases(size=0, token="", filter_text="", mask=FieldMask(paths=["x"]))),
    ]
    for error, listed in no_lists:
        with pytest.raises(error):
            await listed


async def names_of(
    listing: Listing, *, services_of: str = "", endpoints_of: str = "", filter_text: str = "", size: int = 0
) -> list[str]:
    """The last two ids of all that a list gives, page by page."""
    found: list[str] = []
    token = ""
    while True:
        if services_of:
            services, token = await listing.services(
                services_of, size=size, token=token, filter_text=filter_text, mask=ALL
            )
            found += [s.name for s in services]
        else:
            endpoints, token = await listing.endpoints(
                endpoints_of, size=size, token=token, filter_text=filter_text, mask=ALL
            )
            found += [e.name for e in endpoints]
        if not token:
            return ["/".join(name.split("/")[-3::2]) for name in found]


async def test_lists_over_one_and_over_many(world: World, listing: Listing) -> None:
    await world.registry.catalog.create_namespace(Namespace(name="namespaces/n"), actor="")
    for service in (f"{DEFAULT}/services/s", f"{DEFAULT}/services/t", "namespaces/n/services/s"):
        await world.register(endpoint("b", service=service), endpoint("a", service=service, port=81))
    assert await names_of(listing, services_of=DEFAULT) == ["default/s", "default/t"]
    assert await names_of(listing, services_of="namespaces/-") == ["default/s", "default/t", "n/s"]
    assert await names_of(listing, endpoints_of=f"{DEFAULT}/services/s") == ["s/a", "s/b"]
    assert len(await names_of(listing, endpoints_of=f"{DEFAULT}/services/-")) == 4
    assert await names_of(listing, endpoints_of="namespaces/-/services/s") == ["s/a", "s/b"] * 2
    assert len(await names_of(listing, endpoints_of="namespaces/-/services/-")) == 6
    assert await names_of(listing, endpoints_of="namespaces/-/services/-", filter_text="port = 81") == [
        "s/a",
        "t/a",
        "s/a",
    ]
    for size in (1, 2, 5):
        assert await names_of(listing, endpoints_of="namespaces/-/services/-", size=size) == await names_of(
            listing, endpoints_of="namespaces/-/services/-"
        )
    found, token = await listing.namespaces(size=1, token="", filter_text="", mask=FieldMask(paths=["name"]))
    assert found == [Namespace(name=DEFAULT)]
    found, token = await listing.namespaces(size=1, token=token, filter_text="", mask=FieldMask(paths=["name"]))
    assert (found, token) == ([Namespace(name="namespaces/n")], "")


async def test_leases(world: World, listing: Listing) -> None:
    keys = [await world.register(endpoint(i)) for i in "abc"]
    await world.registry.keeper.attach(keys[0], actor="")
    every, token = await listing.leases(size=0, token="", filter_text="", mask=ALL)
    assert [lease.name for lease in every] == sorted(f"leases/{key.partition('.')[0]}" for key in keys)
    held, token = await listing.leases(size=0, token="", filter_text="state = LEASE_STATE_HELD", mask=ALL)
    assert ([lease.name for lease in held], token) == ([f"leases/{keys[0].partition('.')[0]}"], "")


async def test_a_token_belongs_to_its_list(world: World, listing: Listing) -> None:
    await world.register(endpoint("a"), endpoint("b"))
    _, token = await listing.endpoints(SERVICE, size=1, token="", filter_text="", mask=ALL)
    assert token
    for parent, filter_text in ((f"{DEFAULT}/services/-", ""), (SERVICE, "port = 80")):
        with pytest.raises(InvalidPageToken):
            await listing.endpoints(parent, size=1, token=token, filter_text=filter_text, mask=ALL)
    with pytest.raises(InvalidPageToken):
        await listing.namespaces(size=1, token=token, filter_text="", mask=ALL)


async def test_events_by_pages(world: World, listing: Listing) -> None:
    await world.register(*(endpoint(i) for i in "abcde"))
    every, token = await listing.events("", size=0, token="")
    assert ([e.resource for e in every[-2:]], token) == ([SERVICE, DEFAULT], "")
    found, token = [], ""
    while True:
        page, token = await listing.events(SERVICE, size=2, token=token)
        found += page
        await world.service(f"{SERVICE}-{len(found)}")  # newer ones move nothing
        if not token:
            break
        assert len(page) == 2
    assert found == [e for e in every if e.resource.startswith(SERVICE)]
    assert await listing.events(f"{SERVICE}/endpoints/x", size=0, token="") == ([], "")


async def test_a_token_that_is_none_of_events(listing: Listing) -> None:
    for token in ("x", encode_token("1", "events other"), encode_token("x", "events r")):
        with pytest.raises(InvalidPageToken):
            await listing.events("r", size=1, token=token)
