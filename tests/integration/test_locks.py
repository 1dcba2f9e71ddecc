"""Locks and elections of a real kernel, as the client library has them, and fenced writes on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing
from pathlib import Path
from typing import Any

import pytest
from sira.bus.v1.publish_service_pb2 import PublishRequest
from sira.bus.v1.publish_service_pb2_grpc import PublishServiceStub
from sira.bus.v1.record_pb2 import Record
from sira.bus.v1.topic_pb2 import Topic
from sira.bus.v1.topic_service_pb2 import CreateTopicRequest
from sira.bus.v1.topic_service_pb2_grpc import TopicServiceStub
from sira.cluster.v1.lock_service_pb2 import AcquireLockRequest, HoldLockRequest, LockAcquisition, ReleaseLockRequest
from sira.cluster.v1.lock_service_pb2_grpc import LockServiceStub
from sira.registry.v1.namespace_pb2 import Namespace
from sira.registry.v1.registry_service_pb2 import CreateNamespaceRequest, CreateServiceRequest, DeleteNamespaceRequest
from sira.registry.v1.resolver_service_pb2 import GetServiceRequest
from sira.registry.v1.service_pb2 import Service
from sira_client import (
    Client,
    FailedPreconditionError,
    FencingTokenStaleError,
    InvalidArgumentError,
    LockHeldError,
    LockLostError,
    LockNotFoundError,
    SiraError,
    connect_insecure,
)

from sira_grpc.config import KernelConfig, ServerConfig, StoreConfig
from sira_grpc.kernel import Kernel
from tests.integration.registry_kernel import Running, running

STALE_TRIES = 100


@pytest.fixture
async def kernel(tmp_path: Path) -> AsyncIterator[Running]:
    async with running(tmp_path) as made:
        yield made


@pytest.fixture
async def client(kernel: Running) -> AsyncIterator[Client]:
    async with connect_insecure(kernel.kernel.addresses[0]) as made:
        yield made


async def test_one_at_a_time_and_in_order(client: Client) -> None:
    locks, order = client.locks(), list[int]()
    inside = 0

    async def work() -> None:
        nonlocal inside
        async with locks.lock("x") as held:
            inside += 1
            assert inside == 1
            assert held.held
            order.append(held.token)
            await asyncio.sleep(0)
            inside -= 1
        assert not held.held

    await asyncio.gather(*(work() for _ in range(20)))
    assert order == sorted(set(order))
    assert len(order) == 20
    with pytest.raises(LockNotFoundError):
        await locks.get("x")


async def test_a_semaphore_lets_several_in(client: Client) -> None:
    locks = client.locks()
    async with locks.semaphore("x", 3, permits=2, label="big"), locks.semaphore("x", 3):
        with pytest.raises(LockHeldError):
            await locks.semaphore("x", 3, wait=0).__aenter__()
        with pytest.raises(LockHeldError):
            await locks.semaphore("x", 3, wait=0.05).__aenter__()
        state = await locks.get("x")
        assert [(holder.label, holder.permits) for holder in state.holders] == [("big", 2), ("", 1)]
        assert not state.waiters
        assert [lock.name for lock in await locks.list()] == ["namespaces/default/locks/x"]
        with pytest.raises(FailedPreconditionError, match="capacity"):
            await locks.lock("x").__aenter__()


async def test_a_waiter_that_gives_up_leaves_the_queue(client: Client) -> None:
    locks = client.locks()
    async with locks.lock("x"):
        waiting = asyncio.create_task(locks.lock("x").__aenter__())
        while not (await locks.get("x")).waiters:
            pass  # each call is a wait of its own
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        assert not (await locks.get("x")).waiters


async def test_who_asks_again_because_no_answer_came_has_what_it_had(kernel: Running, client: Client) -> None:
    locks: Any = LockServiceStub(kernel.channel)
    lock, secret = "namespaces/default/locks/x", "s" * 22
    acquisition = LockAcquisition(name=lock, key_secret=secret)
    request = HoldLockRequest(acquire=acquisition)
    unheard = locks.HoldLock()
    await unheard.write(request)
    while await _held(client) == (0, 0):
        pass  # each call is a wait of its own
    token, _ = await _held(client)
    unheard.cancel()
    again = locks.HoldLock()
    await again.write(request)
    told = (await again.read()).acquired
    assert (told.token, told.lock_key) == (token, f"{lock}.{secret}")
    acquired = (await locks.AcquireLock(AcquireLockRequest(acquisition=acquisition))).acquired
    assert acquired.token == token
    acquisition.key_secret = "t" * 22
    with pytest.raises(Exception, match="is held by others"):
        await locks.AcquireLock(AcquireLockRequest(acquisition=acquisition))
    await locks.ReleaseLock(ReleaseLockRequest(lock_key=f"{lock}.{secret}"))
    assert await _held(client) == (0, 0)


async def test_a_lock_outlives_a_restart_of_the_kernel(tmp_path: Path) -> None:
    async with AsyncExitStack() as clients:
        async with Kernel(_config(tmp_path)) as kernel:
            (address,) = kernel.addresses
            client = await clients.enter_async_context(connect_insecure(address))
            held = await client.locks().lock("x", ttl=30).__aenter__()
            waiting = asyncio.create_task(client.locks().lock("x", ttl=30).__aenter__())
            while await _held(client) != (held.token, 1):
                pass  # each call is a wait of its own
        async with Kernel(_config(tmp_path, address)):
            while await _held(client) != (held.token, 1) or held.error is not None:
                pass  # each call is a wait of its own
            assert held.held
            await held.close()
            taken = await waiting
            assert taken.token > held.token
            await taken.close()


async def test_a_fenced_write_is_refused_once_the_lock_has_gone_on(kernel: Running, client: Client) -> None:
    locks, name = client.locks(), "namespaces/default/services/fenced"
    await TopicServiceStub(kernel.channel).CreateTopic(
        CreateTopicRequest(topic=Topic(name="namespaces/default/topics/t"))
    )
    publish = PublishServiceStub(kernel.channel)
    record = PublishRequest(topic="namespaces/default/topics/t", records=[Record(payload=b"x")])
    async with locks.lock("x") as held:
        await client.registry.CreateService(
            CreateServiceRequest(service=Service(name=f"{name}0")), metadata=held.metadata
        )
        assert (await publish.Publish(record, metadata=held.metadata)).records[0].offset == 0
    async with locks.lock("x"):
        for number in range(1, STALE_TRIES):
            request = CreateServiceRequest(service=Service(name=f"{name}{number}"))
            with pytest.raises(FencingTokenStaleError):
                await client.registry.CreateService(request, metadata=held.metadata)
        with pytest.raises(Exception, match="has gone on"):
            await publish.Publish(record, metadata=held.metadata)
        # Reads take no notice.
        read = GetServiceRequest(name=f"{name}0")
        assert (await client.resolver.GetService(read, metadata=held.metadata)).service.name == f"{name}0"
    with pytest.raises(InvalidArgumentError, match="sira-fencing"):
        await client.registry.CreateService(request, metadata=(("sira-fencing", "x"),))
    assert (await publish.Publish(record)).records[0].offset == 1


async def test_a_namespace_with_a_lock_needs_force(client: Client) -> None:
    await client.registry.CreateNamespace(CreateNamespaceRequest(namespace=Namespace(name="namespaces/shop")))
    async with client.locks(namespace="shop").lock("x") as held:
        with pytest.raises(FailedPreconditionError, match="1 locks"):
            await client.registry.DeleteNamespace(DeleteNamespaceRequest(name="namespaces/shop"))
        await client.registry.DeleteNamespace(DeleteNamespaceRequest(name="namespaces/shop", force=True))
        async with asyncio.timeout(20):
            await held.lost.wait()
        assert isinstance(held.error, LockLostError)
        assert not held.held


async def test_an_election(client: Client) -> None:
    election = client.locks().election("x")
    assert await election.leader() is None
    async with aclosing(election.observe()) as leaders:  # type: ignore[type-var]  # it is a generator
        assert await anext(leaders) is None
        async with election.campaign(b"one", label="1") as first:
            leader = await anext(leaders)
            assert leader is not None
            assert (leader.value, leader.label, leader.term) == (b"one", "1", first.term)
            await first.proclaim(b"other")
            leader = await anext(leaders)
            assert leader is not None
            assert (leader.value, leader.term) == (b"other", first.term)
            following = asyncio.create_task(election.campaign(b"two").__aenter__())
        second = await following
        assert second.leads
        assert second.term > first.term
        await second.close()
        assert not second.leads
        with pytest.raises(LockLostError):
            await second.proclaim(b"late")


async def test_what_is_open_ends_with_the_client(kernel: Running) -> None:
    async with connect_insecure(kernel.kernel.addresses[0]) as client:
        await client.locks().lock("x").__aenter__()
    async with connect_insecure(kernel.kernel.addresses[0]) as client:
        assert not await client.locks().list()


async def test_what_makes_no_sense(client: Client) -> None:
    locks = client.locks()
    for make, match in (
        (lambda: locks.lock("X"), "lock"),
        (lambda: locks.lock("namespaces/default/elections/x"), "lock"),
        (lambda: locks.election("x/y"), "election"),
        (lambda: client.locks(namespace="X"), "namespace"),
        (lambda: locks.lock("x", ttl=0.5), "ttl"),
        (lambda: locks.lock("x", wait=-1), "wait"),
        (lambda: locks.semaphore("x", 0), "capacity"),
        (lambda: locks.semaphore("x", 2, permits=3), "permits"),
        (lambda: locks.election("x").campaign(ttl=4000), "ttl"),
    ):
        with pytest.raises(ValueError, match=match):
            make()


async def _held(client: Client) -> tuple[int, int]:
    """Token of the holder and number of waiters; zeros while the kernel is not there."""
    try:
        state = await client.locks().get("x")
    except SiraError:
        return 0, 0
    return state.holders[0].token, len(state.waiters)


def _config(path: Path, address: str = "127.0.0.1:0") -> KernelConfig:
    server = ServerConfig(addresses=(address,), drain_grace=5)
    return KernelConfig(server=server, store=StoreConfig(data_dir=str(path)))
