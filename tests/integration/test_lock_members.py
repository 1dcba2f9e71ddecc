"""Locks of the client library on two members of a cluster: each of them may die, and so may the leader of the store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from sira_client import Client, connect_insecure

from sira_grpc.nats_servers import NatsCluster
from sira_grpc.store.nats_names import Names
from sira_grpc.store.nats_options import NatsOptions
from tests.integration.sira_process import SiraProcess

PATIENCE = 90
CLIENTS, TURNS = 32, 2


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[NatsCluster]:
    async with NatsCluster(tmp_path / "nats") as started:
        yield started


class Members:
    """Kernels that are processes, by where they are."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._started: list[SiraProcess] = []
        self.processes: dict[str, SiraProcess] = {}

    async def start(self) -> str:
        environment = {"SIRA_STORE_URL": self._url, "SIRA_LOG_LEVEL": "error", "SIRA_IDENTITY_ENABLED": "false"}
        process = SiraProcess("dev", "-o", "json", "--listen", "127.0.0.1:0", environment=environment)
        self._started.append(process)
        address = str((await asyncio.to_thread(process.json))["addresses"][0])
        self.processes[address] = process
        return address

    def stop(self) -> None:
        for process in self._started:
            process.__exit__(None, None, None)


@pytest.fixture
async def members(servers: NatsCluster) -> AsyncIterator[Members]:
    made = Members(servers.url)
    try:
        async with asyncio.timeout(PATIENCE):
            for _ in range(2):
                await made.start()
        yield made
    finally:
        made.stop()


async def test_nothing_is_lost_with_a_member(members: Members) -> None:
    async with asyncio.timeout(PATIENCE), connect_insecure(list(members.processes)) as client:
        locks = client.locks()
        held = await locks.lock("x", ttl=20).__aenter__()
        lead = await locks.election("x").campaign(b"v", ttl=20).__aenter__()
        waiting = []
        for number in range(1, 4):
            waiting.append(asyncio.create_task(locks.lock("x", ttl=20, label=str(number)).__aenter__()))
            while len((await locks.get("x")).waiters) != number:
                pass  # each call is a wait of its own
        (holder,) = (await locks.get("x")).holders
        token, member = held.token, holder.member
        members.processes[client._link.member.address].kill()
        while (await locks.get("x")).holders[0].member == member:
            pass
        state = await locks.get("x")
        assert [waiter.label for waiter in state.waiters] == ["1", "2", "3"]
        assert (held.held, held.token, lead.leads) == (True, token, True)
        await lead.proclaim(b"still")
        leader = await locks.election("x").leader()
        assert leader is not None
        assert (leader.value, leader.term) == (b"still", lead.term)
        await held.close()
        for task in waiting:
            taken = await task
            assert taken.token > token
            token = taken.token
            await taken.close()
        await lead.close()
        assert not await locks.list()


async def test_nothing_is_lost_with_the_leader_of_the_store(members: Members, servers: NatsCluster) -> None:
    async with asyncio.timeout(PATIENCE), connect_insecure(list(members.processes)) as client:
        locks = client.locks()
        async with locks.lock("x", ttl=20) as held:
            leader = await servers.stream_leader(Names(NatsOptions(url=servers.url).prefix).state)
            assert leader is not None
            await leader.kill()
            async with locks.lock("y", ttl=20) as other:  # a write: it waits for the next leader
                assert other.held
            assert held.held
            assert held.error is None or not held.lost.is_set()
        async with locks.lock("x", ttl=20) as again:
            assert again.token > held.token


async def test_many_at_both_members_have_it_one_at_a_time_with_tokens_that_grow(members: Members) -> None:
    tokens: list[int] = []
    inside = 0

    async def work(client: Client) -> None:
        nonlocal inside
        for _ in range(TURNS):
            async with client.locks().lock("x", ttl=20) as held:
                inside += 1
                tokens.append(held.token)
                (holder,) = (await client.locks().get("x")).holders
                assert (inside, holder.token) == (1, held.token)
                inside -= 1

    async with asyncio.timeout(PATIENCE), AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(connect_insecure(address)) for address in members.processes]
        await asyncio.gather(*(work(clients[number % 2]) for number in range(CLIENTS)))
        assert len(tokens) == CLIENTS * TURNS
        assert tokens == sorted(set(tokens))
        while await clients[0].locks().list():
            pass  # each call is a wait of its own: a member may be behind the other
