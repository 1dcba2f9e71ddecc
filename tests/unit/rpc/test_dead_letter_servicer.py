"""The dead letters over the wire, of a subscription that has some."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from grpc import aio
from sira.bus.v1 import dead_letter_service_pb2 as pb
from sira.bus.v1 import dead_letter_service_pb2_grpc as stubs
from sira.bus.v1.dead_letter_service_pb2 import DeadLetterFilter

from sira_grpc.bus import names
from sira_grpc.bus.dead_letters import DeadLetters
from sira_grpc.bus.incoming import Incoming, Published
from sira_grpc.bus.redriving import Redriving
from sira_grpc.bus.view import SubscriptionEntry
from sira_grpc.config import BusConfig
from sira_grpc.rpc.dead_letter_servicer import DeadLetterServicer
from tests.clocks import FakeClock
from tests.unit.bus.control_world import ControlWorld
from tests.unit.bus.dead_letter_world import opened, record


@pytest.fixture
async def control(tmp_path: Path) -> AsyncIterator[ControlWorld]:
    world = ControlWorld(tmp_path, FakeClock(), BusConfig())
    await world.start()
    yield world
    await world.stop()


@pytest.fixture
async def stub(control: ControlWorld) -> AsyncIterator[stubs.DeadLetterServiceAsyncStub]:
    topic, subscription = await control.topic(), await control.subscription()
    letters = await opened(control.store, uid=subscription.uid, name=subscription.name)
    await letters.append([record(n, log=names.log_of(topic.uid, 0)) for n in range(5)])

    async def publish(topic: str, partition: int | None, incoming: Incoming) -> Published:
        return Published(0, incoming.frame.count)

    async def dead_letters_of(entry: SubscriptionEntry) -> DeadLetters:
        assert entry is subscription
        return letters

    async def found(name: str) -> SubscriptionEntry:
        return control.view.subscription(name)

    redriving = Redriving(control.view, publish)
    bus = cast(Any, SimpleNamespace(subscription=found, dead_letters_of=dead_letters_of, redriving=redriving))
    server = aio.server()
    stubs.add_DeadLetterServiceServicer_to_server(DeadLetterServicer(bus), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield stubs.DeadLetterServiceStub(channel)
    await server.stop(None)


PARENT = "namespaces/default/subscriptions/billing"


async def test_dead_letters_are_listed_shown_redriven_and_purged(stub: stubs.DeadLetterServiceAsyncStub) -> None:
    some = DeadLetterFilter(ids=[0, 1, 2])
    page = await stub.ListDeadLetters(pb.ListDeadLettersRequest(parent=PARENT, filter=some, page_size=2))
    assert [letter.name for letter in page.dead_letters] == [f"{PARENT}/deadLetters/{n}" for n in (0, 1)]
    assert not page.dead_letters[0].record.payload
    page = await stub.ListDeadLetters(
        pb.ListDeadLettersRequest(parent=PARENT, filter=some, page_size=2, page_token=page.next_page_token)
    )
    assert [letter.offset for letter in page.dead_letters] == [2]
    assert not page.next_page_token
    got = await stub.GetDeadLetter(pb.GetDeadLetterRequest(name=f"{PARENT}/deadLetters/3"))
    assert got.dead_letter.record.payload == b"payload 3"
    request = pb.RedriveDeadLettersRequest(parent=PARENT, filter=some, limit=2)
    assert await stub.RedriveDeadLetters(request) == pb.RedriveDeadLettersResponse(redriven=2, more=True)
    assert await stub.PurgeDeadLetters(pb.PurgeDeadLettersRequest(parent=PARENT)) == pb.PurgeDeadLettersResponse(
        purged=3
    )


async def test_a_subscription_that_is_not_there(stub: stubs.DeadLetterServiceAsyncStub) -> None:
    with pytest.raises(aio.AioRpcError, match="namespaces/default/subscriptions/other is not there"):
        await stub.ListDeadLetters(pb.ListDeadLettersRequest(parent="namespaces/default/subscriptions/other"))
