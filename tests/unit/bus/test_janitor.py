"""The janitor: logs go when what they belonged to is gone, and not before."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sira.bus.v1.topic_pb2 import Topic

from sira_grpc.bus import janitor as module
from sira_grpc.bus import names
from sira_grpc.bus.janitor import Janitor, trash_of
from sira_grpc.errors import EtagMismatch, StoreUnavailable
from sira_grpc.store.api import LogRange, LogStore
from sira_grpc.store.validation import check_ops
from tests.unit.bus.control_world import DEFAULT, ControlWorld

NAME = f"{DEFAULT}/topics/orders"
GONE = LogRange(0, 0)


async def logs_of(control: ControlWorld) -> list[str]:
    """Creates a topic with a reader, and has something in each of their logs."""
    topic = await control.topic(partitions=2)
    reader = await control.subscription()
    logs = [
        *(of(topic.uid, p) for of in (names.log_of, names.marks_of, names.scheduled_of) for p in (0, 1)),
        names.settlements_of(reader.uid, topic.uid, 1),
        names.dead_of(reader.uid),
        names.dead_removed_of(reader.uid),
    ]
    for log in logs:
        await control.store.append(log, [b"x"])
    return logs


async def there(control: ControlWorld, logs: list[str]) -> list[str]:
    return [log for log in logs if await control.store.range(log) != GONE]


@contextmanager
def running(janitor: Janitor) -> Iterator[asyncio.Task[None]]:
    task = asyncio.create_task(janitor.run())
    try:
        yield task
    finally:
        task.cancel()


async def test_it_deletes_what_a_topic_and_then_a_subscription_leave(control: ControlWorld) -> None:
    logs = await logs_of(control)
    await control.janitor.sweep()
    assert await there(control, logs) == logs
    uid, reader = control.view.topic(NAME).uid, control.view.subscription(f"{DEFAULT}/subscriptions/billing")
    await control.topics.delete(NAME, etag="", force=True)
    await control.janitor.sweep()
    assert await there(control, logs) == [names.dead_of(reader.uid), names.dead_removed_of(reader.uid)]
    assert not control.view.trash
    await control.subscriptions.delete(reader.name, etag="", force=True)
    await control.janitor.sweep()
    assert await there(control, logs) == []
    assert not (await control.store.snapshot(names.TRASH)).entries
    assert control.neighbours.released_uids == [uid, reader.uid]


async def test_it_waits_until_nobody_writes_any_more(control: ControlWorld) -> None:
    logs = await logs_of(control)
    await control.topics.delete(NAME, etag="", force=True)
    reached, release = asyncio.Event(), asyncio.Event()

    async def write_once_more() -> None:
        reached.set()
        await release.wait()
        await control.store.append(logs[0], [b"late"])

    control.neighbours.asked = write_once_more
    sweeping = asyncio.create_task(control.janitor.sweep())
    await reached.wait()
    assert await there(control, logs) == logs
    release.set()
    await sweeping
    assert logs[0] not in await there(control, logs)


async def test_it_begins_with_what_an_earlier_kernel_left(control: ControlWorld) -> None:
    logs = await logs_of(control)
    await control.topics.delete(NAME, etag="", force=True)
    await control.restart()
    assert control.view.trash
    before = control.store.revision
    with running(control.janitor):
        await control.trash_gone(before)
    assert len(await there(control, logs)) == 2


async def test_it_wakes_up_when_there_is_something_to_delete(control: ControlWorld) -> None:
    logs = await logs_of(control)
    before = control.store.revision
    with running(control.janitor):
        await asyncio.sleep(0)
        await control.topics.delete(NAME, etag="", force=True)
        await control.trash_gone(before)
        before = control.store.revision
        await control.subscriptions.delete(f"{DEFAULT}/subscriptions/billing", etag="", force=True)
        await control.trash_gone(before)
    assert await there(control, logs) == []


class Failing:
    """Logs that cannot be deleted, so many times."""

    def __init__(self, logs: LogStore, times: int) -> None:
        self._logs = logs
        self.left = times

    async def delete_partition(self, partition: str) -> None:
        if self.left:
            self.left -= 1
            raise StoreUnavailable("the disk is full")
        await self._logs.delete_partition(partition)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._logs, name)


async def test_it_tries_again_when_the_store_cannot(
    control: ControlWorld, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(module, "RETRY_SECONDS", 0)
    logs = await logs_of(control)
    failing = Failing(control.store, times=2)
    janitor = Janitor(control.view, control.commits, cast(LogStore, failing), control.neighbours, bool)
    before = control.store.revision
    await control.topics.delete(NAME, etag="", force=True)
    with running(janitor):
        await control.trash_gone(before)
    assert failing.left == 0
    assert len(await there(control, logs)) == 2
    assert sum("tried again" in record.message for record in caplog.records) == 2


async def test_very_many_logs_are_several_lists(control: ControlWorld, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LOGS_IN_A_LIST", 2)
    monkeypatch.setattr(module, "LISTS_AT_ONCE", 2)
    logs = await logs_of(control)
    topic = control.view.topic(NAME)
    await control.topics.delete(NAME, etag="", force=True)
    assert set(control.view.trash) == {names.trash_of(DEFAULT, topic.uid, number) for number in range(7)}
    assert len(control.trash()) == 14
    await control.janitor.sweep()
    assert len(await there(control, logs)) == 2
    assert not control.view.trash


async def test_lists_that_were_noted_for_a_deletion_that_failed_count_for_nothing(
    control: ControlWorld, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "LOGS_IN_A_LIST", 2)
    monkeypatch.setattr(module, "LISTS_AT_ONCE", 1)
    logs = await logs_of(control)
    entry = control.view.topic(NAME)
    etag, committed = entry.message.etag, asyncio.Event()
    control.view.hooks.trash_written.append(lambda trash: committed.set())

    async def deleting() -> None:
        await control.topics.delete(NAME, etag=etag, force=True)

    task = asyncio.create_task(deleting())
    await committed.wait()
    await control.topics.update(Topic(name=NAME, description="new"), FieldMask(paths=["description"]))
    with pytest.raises(EtagMismatch):
        await task
    assert control.view.trash
    await control.janitor.sweep()
    assert await there(control, logs) == logs
    await control.restart()
    await control.janitor.sweep()
    assert await there(control, logs) == logs
    await control.topics.delete(NAME, etag="", force=True)
    await control.janitor.sweep()
    assert not control.view.trash
    assert len(await there(control, logs)) == 2


def test_the_longest_lists_fit_into_a_commit() -> None:
    uid = "f" * 16
    count = module.LOGS_IN_A_LIST * module.LISTS_AT_ONCE
    check_ops(trash_of(DEFAULT, uid, [names.settlements_of(uid, uid, 255)] * count))
