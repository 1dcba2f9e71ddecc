from __future__ import annotations

import asyncio

import pytest

from sira_grpc.errors import NamespaceNotFound, ServiceNotFound
from sira_grpc.registry.guards import DeletionGuard

NAMESPACE = "namespaces/n"
SERVICE = "namespaces/n/services/s"


async def turns() -> None:
    """Lets every task that can go on go on."""
    for _ in range(5):
        await asyncio.sleep(0)


async def test_deleting_waits_for_users_and_refuses_new_ones() -> None:
    guard = DeletionGuard()
    deleted = asyncio.Event()

    async def delete() -> None:
        async with guard.deleting(SERVICE):
            deleted.set()

    with guard.using([SERVICE]):
        with guard.using([SERVICE, NAMESPACE]):
            task = asyncio.create_task(delete())
            await turns()
            with pytest.raises(ServiceNotFound), guard.using([SERVICE]):
                pass
        await turns()
        assert not deleted.is_set()
        with guard.using([NAMESPACE]):  # not what is deleted
            pass
    await task
    assert deleted.is_set()
    with guard.using([SERVICE]):
        pass


async def test_the_refusal_names_the_kind() -> None:
    guard = DeletionGuard()
    async with guard.deleting(NAMESPACE):
        with pytest.raises(NamespaceNotFound), guard.using([SERVICE, NAMESPACE]):
            pass
    with guard.using([SERVICE, NAMESPACE]):
        pass


async def test_one_deletion_of_a_name_at_a_time() -> None:
    guard = DeletionGuard()
    inside = 0

    async def delete() -> None:
        nonlocal inside
        async with guard.deleting(SERVICE):
            inside += 1
            assert inside == 1
            await turns()
            inside -= 1

    await asyncio.gather(*(delete() for _ in range(4)))


async def test_a_deletion_that_is_cancelled_or_fails_leaves_the_name_usable() -> None:
    guard = DeletionGuard()

    async def delete() -> None:
        async with guard.deleting(SERVICE):
            raise RuntimeError("cannot")

    with guard.using([SERVICE]):
        task = asyncio.create_task(delete())
        await turns()
        task.cancel()
        await turns()
        with guard.using([SERVICE]):
            pass
    with pytest.raises(RuntimeError):
        await delete()
    with guard.using([SERVICE]):
        pass
