from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from sira_grpc.clock import SystemClock
from sira_grpc.errors import StoreUnavailable
from sira_grpc.nats_servers import SYSTEM_USER, NatsCluster
from sira_grpc.store import Put
from sira_grpc.store.nats import open_nats
from sira_grpc.store.nats_options import NatsOptions
from tests.integration.nats_worlds import opened, options

PASSWORD = "only-here"
SYSTEM: dict[str, Any] = {"system_user": SYSTEM_USER, "system_password": PASSWORD}


async def test_servers_that_acknowledge_before_they_write_are_refused(tmp_path: Path) -> None:
    async with NatsCluster(tmp_path, 1, sync_interval="2m", system_password=PASSWORD) as servers:
        with pytest.raises(StoreUnavailable, match="sync_interval: always"):
            await open_nats(options(servers, **SYSTEM), clock=SystemClock())
        async with opened(servers, accept_weak_durability=True, **SYSTEM) as store:
            await store.commit([Put("a", b"")])


async def test_servers_that_write_first_are_accepted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with NatsCluster(tmp_path, 1, system_password=PASSWORD) as servers:
        async with opened(servers, **SYSTEM) as store:
            await store.commit([Put("a", b"")])
        assert not caplog.messages
        with pytest.raises(StoreUnavailable, match="system_user cannot connect"):
            await open_nats(options(servers, **{**SYSTEM, "system_password": "wrong"}), clock=SystemClock())


async def test_a_server_that_is_alone_keeps_no_three_replicas(tmp_path: Path) -> None:
    async with NatsCluster(tmp_path, 1) as servers:
        with pytest.raises(StoreUnavailable, match=r"set store\.replicas to 1"):
            await open_nats(options(servers, replicas=3), clock=SystemClock())


async def test_a_stream_with_fewer_replicas_than_asked_for_is_refused(tmp_path: Path) -> None:
    async with NatsCluster(tmp_path, 3) as servers:
        async with opened(servers, replicas=1) as store:
            await store.commit([Put("a", b"")])
        with pytest.raises(StoreUnavailable, match="has 1 replicas, not 3"):
            await open_nats(options(servers), clock=SystemClock())
        async with opened(servers, accept_weak_durability=True) as store:
            assert await store.get("a") is not None


async def test_messages_that_are_too_small_for_frames_are_refused(tmp_path: Path) -> None:
    async with NatsCluster(tmp_path, 1, max_payload=1 << 20) as servers:
        with pytest.raises(StoreUnavailable, match="max_payload: 8MB"):
            await open_nats(options(servers), clock=SystemClock())


async def test_no_server_is_no_store() -> None:
    with pytest.raises(StoreUnavailable, match="could be reached"):
        await open_nats(NatsOptions(url="nats://127.0.0.1:1"), clock=SystemClock(), open_timeout=0.5)
