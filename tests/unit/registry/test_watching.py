from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.resolver_service_pb2 import WatchRequest
from sira.registry.v1.service_pb2 import Service

from sira_grpc.errors import NamespaceNotFound, RevisionAhead, RevisionCompacted, ServiceNotFound
from sira_grpc.registry import watching
from sira_grpc.registry.watching import KEPT_POSITIONS
from tests.unit.registry.reader import Reader
from tests.unit.registry.world import SERVICE, World, endpoint


@pytest.fixture
async def reader(world: World) -> AsyncIterator[Reader]:
    await world.register(endpoint("a"))
    made = Reader(world)
    yield made
    await made.close()


async def test_a_snapshot_first(world: World, reader: Reader) -> None:
    response = await reader.read()
    assert response.HasField("snapshot")
    assert not response.snapshot.more
    assert reader.service is not None
    assert (reader.service.name, reader.service.HasField("status")) == (SERVICE, False)
    assert reader.sees(world)
    assert reader.revision == world.store.revision


async def test_the_snapshot_of_a_service_without_endpoints(world: World) -> None:
    await world.service()
    reader = Reader(world)
    response = await reader.read()
    assert (response.HasField("snapshot"), response.revision) == (True, world.store.revision)
    await reader.close()


async def test_then_what_changes(world: World, reader: Reader) -> None:
    await reader.read()
    key = await world.register(endpoint("b"))
    response = await reader.read()
    assert [e.name for e in response.changes.upserted] == [f"{SERVICE}/endpoints/b"]
    assert response.revision == world.store.revision
    await world.registry.keeper.revoke(key, "", actor="")
    assert (await reader.read()).changes.deleted == [f"{SERVICE}/endpoints/b"]
    given = Service(name=SERVICE, description="d")
    await world.registry.catalog.update_service(given, FieldMask(paths=["description"]), actor="")
    response = await reader.read()
    assert (response.changes.service.description, len(response.changes.upserted)) == ("d", 0)
    assert reader.sees(world)


async def test_a_slow_reader_gets_the_latest_of_what_changed_in_between(world: World, reader: Reader) -> None:
    await reader.read()
    for port in range(81, 91):
        await world.registry.registrar.update(
            Endpoint(name=f"{SERVICE}/endpoints/a", port=port), FieldMask(paths=["port"]), actor=""
        )
    gone = await world.register(endpoint("b"))
    await world.register(endpoint("c"))
    await world.registry.keeper.revoke(gone, "", actor="")
    changes = (await reader.read()).changes
    assert sorted((e.name[-1], e.port) for e in changes.upserted) == [("a", 90), ("c", 80)]
    assert list(changes.deleted) == [f"{SERVICE}/endpoints/b"]
    assert reader.sees(world)
    assert reader.revision == world.store.revision


async def test_readers_at_one_position_share_the_bytes(world: World) -> None:
    await world.register(endpoint("a"))
    streams = [world.registry.watching.follow(WatchRequest(service=SERVICE)) for _ in range(3)]
    assert len({id(await anext(stream)) for stream in streams}) == 1
    await world.register(endpoint("b"))
    assert len({id(await anext(stream)) for stream in streams}) == 1
    for stream in streams:
        await stream.aclose()
    assert world.registry.view.services[SERVICE].feed.subscribers == 0


async def test_resuming_gives_what_changed_since(world: World, reader: Reader) -> None:
    await reader.read()
    nothing = Reader(world, start=reader.revision)
    response = await nothing.read()
    assert (response.HasField("progress"), response.revision) == (True, reader.revision)
    await world.register(endpoint("b"))
    assert [e.name[-1] for e in (await nothing.read()).changes.upserted] == ["b"]
    resumed = Reader(world, start=reader.revision)
    resumed.endpoints = dict(reader.endpoints)
    response = await resumed.read()
    assert [e.name[-1] for e in response.changes.upserted] == ["b"]
    assert resumed.sees(world)
    await nothing.close()
    await resumed.close()


async def test_resuming_at_the_revision_of_something_else(world: World, reader: Reader) -> None:
    await world.service(f"{SERVICE}-other")
    resumed = Reader(world, start=world.store.revision)
    assert (await resumed.read()).HasField("progress")
    await world.register(endpoint("b"))
    assert [e.name[-1] for e in (await resumed.read()).changes.upserted] == ["b"]
    await resumed.close()


async def test_resuming_over_a_restart(world: World, reader: Reader) -> None:
    key = await world.register(endpoint("b"))
    gone = await world.register(endpoint("c"))
    await reader.until(lambda: reader.sees(world))
    await reader.close()
    world.registry.keeper.lost(await world.registry.keeper.attach(key, actor=""), actor="")
    await world.settled()
    await world.registry.keeper.revoke(gone, "", actor="")
    await world.restart()
    resumed = Reader(world, start=reader.revision)
    resumed.endpoints = dict(reader.endpoints)
    response = await resumed.read()
    assert {e.name[-1]: e.status.suspect for e in response.changes.upserted} == {"b": True}
    assert [name[-1] for name in response.changes.deleted] == ["c"]
    assert resumed.sees(world)
    await resumed.close()


async def test_a_revision_that_is_of_no_use(world: World, reader: Reader) -> None:
    with pytest.raises(RevisionAhead):
        Reader(world, start=world.store.revision + 1)
    await world.store.compact(world.store.revision)
    await world.restart()
    with pytest.raises(RevisionCompacted):
        Reader(world, start=1)
    for name, error in (("x/services/s", NamespaceNotFound), ("default/services/x", ServiceNotFound)):
        with pytest.raises(error):
            world.registry.watching.follow(WatchRequest(service=f"namespaces/{name}"))


async def test_the_end_of_the_service_is_the_end_of_the_stream(world: World, reader: Reader) -> None:
    await reader.read()
    waiting = asyncio.ensure_future(reader.read())
    await world.turns()
    await world.registry.catalog.delete_service(SERVICE, etag="", force=True, actor="")
    await world.service()  # another one of that name
    with pytest.raises(ServiceNotFound, match="was deleted"):
        await waiting


async def test_a_large_service_comes_in_parts(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "PART_BYTES", 2000)
    reader = Reader(world, start=await first_revision(world))
    await world.register(*(endpoint(f"e{i}") for i in range(100)))
    fresh = Reader(world)
    parts = [await fresh.read()]
    while parts[-1].snapshot.more:
        parts.append(await fresh.read())
    assert len(parts) > 3
    assert all(part.ByteSize() < 2500 for part in parts)
    assert [part.revision for part in parts] == [0] * (len(parts) - 1) + [world.store.revision]
    assert fresh.sees(world)
    # Changes come in parts too; who breaks off in between goes on from before the first of them.
    start = reader.revision
    response = await reader.read()
    assert (len(response.changes.upserted) < 100, reader.revision) == (True, start)
    await reader.until(lambda: reader.revision > start)
    assert reader.sees(world)
    await fresh.close()
    await reader.close()


async def first_revision(world: World) -> int:
    await world.service()
    return world.store.revision


async def test_what_changes_while_a_snapshot_is_sent_in_parts_is_not_lost(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(watching, "PART_BYTES", 500)
    key = await world.register(*(endpoint(f"e{i}") for i in range(20)))
    reader = Reader(world)
    assert (await reader.read()).snapshot.more
    gone = [f"{SERVICE}/endpoints/e{i}" for i in range(0, 20, 2)]
    await world.registry.registrar.deregister(gone, lease_key=key, actor="")
    await world.register(endpoint("f"))
    await reader.until(lambda: reader.revision == world.store.revision)
    assert reader.sees(world)
    await reader.close()


async def test_readers_that_are_behind_take_bounded_memory(world: World) -> None:
    """However many positions they resume from, only so many answers are kept."""
    await world.service()
    start = world.store.revision
    for i in range(3 * KEPT_POSITIONS):
        await world.register(endpoint(f"e{i}"))
    entry = world.registry.view.services[SERVICE]
    readers = [Reader(world, start=start + i) for i in range(3 * KEPT_POSITIONS)]
    for i, reader in enumerate(readers):
        assert len((await reader.read()).changes.upserted) == 3 * KEPT_POSITIONS - i
    assert len(entry.encoded) <= KEPT_POSITIONS
    assert entry.feed.subscribers == len(readers)
    for reader in readers:
        await reader.close()
    assert entry.feed.subscribers == 0


async def test_a_reader_that_does_not_read_takes_no_memory(world: World, reader: Reader) -> None:
    await reader.read()
    for port in range(81, 181):
        await world.registry.registrar.update(
            Endpoint(name=f"{SERVICE}/endpoints/a", port=port), FieldMask(paths=["port"]), actor=""
        )
    entry = world.registry.view.services[SERVICE]
    assert sum(len(messages) for messages in entry.encoded.values()) <= 1
    assert len(entry.feed._changed) == 2  # the service, and the endpoint
    await reader.until(lambda: reader.sees(world))
