from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from sira.registry.v1.resolver_service_pb2 import WatchChanges, WatchProgress, WatchResponse, WatchSnapshot
from sira_client import (
    Client,
    Endpoint,
    InternalError,
    NotFoundError,
    PermissionDeniedError,
    Service,
    ServiceView,
    Settings,
    connect_insecure,
)
from sira_client.view import ViewBuilder

from tests.unit.client.failure import Failure
from tests.unit.client.in_memory_kernel import InMemoryKernel

SERVICE = "namespaces/default/services/greeter"


def endpoint(number: int, port: int = 1) -> Endpoint:
    return Endpoint(name=f"{SERVICE}/endpoints/e{number}", addresses=["127.0.0.1"], port=port)


def ids(view: ServiceView) -> set[str]:
    return {name.rpartition("/")[2] for name in view.endpoints}


@pytest.fixture
async def served(kernel: InMemoryKernel) -> InMemoryKernel:
    await kernel.put(endpoint(1), service=Service(name=SERVICE))
    return kernel


@pytest.fixture
async def watch(client: Client, served: InMemoryKernel) -> AsyncIterator[AsyncIterator[ServiceView]]:
    iterator = client.watch("greeter")
    yield iterator
    await iterator.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_a_view_for_each_change(watch: AsyncIterator[ServiceView], served: InMemoryKernel) -> None:
    first = await anext(watch)
    assert (first.service.name, ids(first), first.revision) == (SERVICE, {"e1"}, served.revision)
    await served.put(endpoint(2))
    second = await anext(watch)
    assert ids(second) == {"e1", "e2"}
    assert ids(first) == {"e1"}
    await served.remove(endpoint(1).name)
    assert ids(await anext(watch)) == {"e2"}


async def test_a_lost_watch_is_resumed_and_misses_nothing(
    watch: AsyncIterator[ServiceView], served: InMemoryKernel
) -> None:
    first = await anext(watch)
    await served.stop()
    await served.put(endpoint(2))
    await served.start()
    assert ids(await anext(watch)) == {"e1", "e2"}
    assert served.seen["Watch"][-1].start_revision == first.revision


async def test_a_kernel_that_stops_is_asked_again_when_it_says(
    watch: AsyncIterator[ServiceView], served: InMemoryKernel
) -> None:
    await anext(watch)
    await served.drop_streams()
    await served.put(endpoint(2))
    assert ids(await anext(watch)) == {"e1", "e2"}


@pytest.mark.parametrize("what", ["compacted", "ahead"])
async def test_where_resuming_is_impossible_a_snapshot_comes(
    watch: AsyncIterator[ServiceView], served: InMemoryKernel, what: str
) -> None:
    await anext(watch)
    await served.stop()
    del served.endpoints[endpoint(1).name]
    await served.put(endpoint(2))
    if what == "compacted":
        served.compacted = served.revision
    else:
        served.revision = 1
    await served.start()
    assert ids(await anext(watch)) == {"e2"}
    assert [request.start_revision for request in served.seen["Watch"]][-1] == 0


async def test_a_service_that_is_not_there(client: Client) -> None:
    with pytest.raises(NotFoundError, match="SERVICE_NOT_FOUND"):
        await anext(client.watch("greeter"))


async def test_a_service_that_is_deleted_ends_the_watch(
    watch: AsyncIterator[ServiceView], served: InMemoryKernel
) -> None:
    await anext(watch)
    served.failures["watching"].append(Failure(grpc.StatusCode.NOT_FOUND, "SERVICE_NOT_FOUND"))
    await served.drop_streams()
    with pytest.raises(NotFoundError):
        await anext(watch)


async def test_a_service_that_a_new_kernel_does_not_know_yet_is_waited_for(
    watch: AsyncIterator[ServiceView], served: InMemoryKernel
) -> None:
    await anext(watch)
    served.service, served.revision = None, 1
    waiting = asyncio.ensure_future(anext(watch))
    await served.drop_streams()
    await served.until(lambda: len(served.seen["Watch"]) >= 3)
    await served.put(endpoint(2), service=Service(name=SERVICE))
    assert ids(await waiting) == {"e1", "e2"}


async def test_a_service_that_stays_unknown_is_given_up(
    watch: AsyncIterator[ServiceView], served: InMemoryKernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sira_client.watch.MISSING_SECONDS", 0.02)
    await anext(watch)
    served.service = None
    await served.drop_streams()
    with pytest.raises(NotFoundError):
        await anext(watch)
    assert len(served.seen["Watch"]) >= 3


async def test_a_service_that_is_not_for_this_caller(client: Client, kernel: InMemoryKernel) -> None:
    kernel.failures["Watch"].append(Failure(grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED"))
    with pytest.raises(PermissionDeniedError):
        await anext(client.watch("greeter"))


async def test_an_error_on_the_first_revision_is_not_asked_for_again(client: Client, kernel: InMemoryKernel) -> None:
    kernel.failures["Watch"].append(Failure(grpc.StatusCode.OUT_OF_RANGE, "REVISION_AHEAD"))
    with pytest.raises(Exception, match="REVISION_AHEAD"):
        await anext(client.watch("greeter"))


async def test_a_large_snapshot_comes_in_parts(client: Client, served: InMemoryKernel) -> None:
    served.parts = 3
    await served.put(*(endpoint(i) for i in range(10)))
    view = await anext(client.watch("greeter"))
    assert ids(view) == {f"e{i}" for i in range(10)}
    assert view.service.name == SERVICE


async def test_a_watch_waits_for_a_kernel_that_is_not_there_yet(served: InMemoryKernel, settings: Settings) -> None:
    await served.stop()
    async with connect_insecure(served.address, settings=settings) as client:
        await served.start()
        assert ids(await anext(client.watch("greeter"))) == {"e1"}


def test_half_a_snapshot_is_dropped_with_its_stream() -> None:
    builder = ViewBuilder()
    service = Service(name=SERVICE)
    half = WatchResponse(revision=7, snapshot=WatchSnapshot(service=service, endpoints=[endpoint(1)], more=True))
    whole = WatchResponse(revision=8, snapshot=WatchSnapshot(service=service, endpoints=[endpoint(2)]))
    assert builder.apply(half) is None
    assert builder.revision == 0
    builder.reconnect()
    view = builder.apply(whole)
    assert view is not None
    assert ids(view) == {"e2"}


def test_progress_moves_the_revision_and_nothing_else() -> None:
    builder = ViewBuilder()
    builder.apply(WatchResponse(revision=7, snapshot=WatchSnapshot()))
    assert builder.apply(WatchResponse(revision=9, progress=WatchProgress())) is None
    assert builder.revision == 9


def test_a_change_of_the_service_keeps_the_endpoints() -> None:
    builder = ViewBuilder()
    builder.apply(WatchResponse(revision=7, snapshot=WatchSnapshot(endpoints=[endpoint(1)])))
    changed = Service(name=SERVICE, description="new")
    view = builder.apply(WatchResponse(revision=8, changes=WatchChanges(service=changed, deleted=["unknown"])))
    assert view is not None
    assert (view.service.description, ids(view)) == ("new", {"e1"})


def test_changes_of_nothing_are_the_kernels_mistake() -> None:
    with pytest.raises(InternalError, match="changes before any snapshot"):
        ViewBuilder().apply(WatchResponse(revision=8, changes=WatchChanges()))
