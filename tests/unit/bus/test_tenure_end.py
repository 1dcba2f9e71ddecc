"""What is about to be opened in the moment in which its tenure ends: it does not hold up the one that follows."""

from __future__ import annotations

import asyncio

import pytest
from sira.bus.v1.subscription_pb2 import Subscription
from sira.bus.v1.topic_pb2 import Topic

from sira_grpc.bus.tenure import Tenure
from sira_grpc.errors import NotOwner
from tests.unit.bus.control_world import DEFAULT
from tests.unit.bus.members_world import EARLIEST, Members

FRESH_TOPIC = f"{DEFAULT}/topics/fresh"
FRESH = f"{DEFAULT}/subscriptions/fresh"


async def _set_up(members: Members) -> Tenure:
    """A topic and a subscription that are not open yet, in a namespace that is served."""
    await members.set_up()
    await members.a.publish("0")
    await members.a.bus.subscriptions.create(Subscription(name=FRESH, topics=["fresh"], start=EARLIEST))
    await members.a.bus.topics.create(Topic(name=FRESH_TOPIC))
    return await members.a.bus.ownership.tenure(DEFAULT)


async def _goes_on(members: Members) -> None:
    async with asyncio.timeout(30):
        assert await members.a.publish("1") == [1]
        assert await members.a.publish("0", topic=FRESH_TOPIC) == [0]
        await members.a.bus.active.get(members.a.bus.view.subscription(FRESH))


async def test_a_subscription(members: Members) -> None:
    a, tenure = members.a, await _set_up(members)
    opening = asyncio.create_task(a.bus.active.get(a.bus.view.subscription(FRESH)))
    await asyncio.sleep(0)  # what opens it is there, and has not begun
    tenure.end("a test ends it")
    await _goes_on(members)
    with pytest.raises(NotOwner):
        await opening


async def test_a_partition_for_a_subscription(members: Members, monkeypatch: pytest.MonkeyPatch) -> None:
    a, tenure = members.a, await _set_up(members)
    taken = a.bus.partitions._tenure

    async def ending(namespace: str, *, patient: bool = True) -> Tenure:
        found = await taken(namespace, patient=patient)
        if not patient:
            asyncio.get_running_loop().call_soon(found.end, "a test ends it")
            monkeypatch.undo()
        return found

    monkeypatch.setattr(a.bus.partitions, "_tenure", ending)
    with pytest.raises(NotOwner):
        await asyncio.wait_for(a.bus.active.get(a.bus.view.subscription(FRESH)), 30)
    assert tenure.over
    await _goes_on(members)
