"""A real kernel with identity in this process, on time that stands still, and its local operator's connection to it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
from grpc import aio
from sira.identity.v1.authority_service_pb2_grpc import AuthorityServiceStub
from sira.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from sira_grpc.clock import Clock
from sira_grpc.config import IdentityConfig, KernelConfig, ServerConfig, StoreConfig
from sira_grpc.kernel import Kernel
from sira_grpc.svid import identity_directory
from tests.clocks import FakeClock
from tests.integration.registry_kernel import Running

DOMAIN = "td.test"


def still_clock() -> FakeClock:
    """Time that stands still now: TLS looks at the machine's own."""
    return FakeClock(time_ns=time.time_ns())


@asynccontextmanager
async def running(path: Path, *, clock: Clock | None = None, **identity: Any) -> AsyncIterator[Running]:
    """Runs a kernel in a folder, at ports that the system chooses. The connection is its local operator's."""
    config = KernelConfig(
        server=ServerConfig(addresses=("127.0.0.1:0",), token_addresses=("127.0.0.1:0",), drain_grace=5),
        store=StoreConfig(data_dir=str(path / "data")),
        identity=IdentityConfig(enabled=True, dir=str(path / "identity"), trust_domain=DOMAIN, **identity),
    )
    async with Kernel(config, clock=clock or still_clock()) as kernel:
        assert kernel.identity is not None
        files = identity_directory.read(kernel.identity.operator.directory)
        credentials = grpc.ssl_channel_credentials(files.bundle, files.key, files.svid)
        async with aio.secure_channel(kernel.addresses[0], credentials) as channel:
            yield Running(kernel, channel)


def identity_stub(kernel: Running) -> Any:
    return IdentityServiceStub(kernel.channel)


def authority_stub(kernel: Running) -> Any:
    return AuthorityServiceStub(kernel.channel)
