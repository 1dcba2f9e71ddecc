"""A process that holds a lock until it is stopped, and writes under it when it goes on: `... HOLDER ADDRESS... `.

Called with addresses of members, a lock, a service, and how often to write. It prints `held` once it has the lock, and,
when a line comes on stdin, how often its writes were refused as stale, and how often anything else came.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from google.protobuf.duration_pb2 import Duration
from grpc import aio
from sira.cluster.v1.lock_service_pb2 import AcquireLockRequest, LockAcquisition
from sira.cluster.v1.lock_service_pb2_grpc import LockServiceStub
from sira.registry.v1.registry_service_pb2 import UpdateServiceRequest
from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from sira.registry.v1.service_pb2 import Service
from sira_client.errors import from_rpc_error

STALE = "FENCING_TOKEN_STALE"
TTL_SECONDS = 1


async def main(addresses: list[str], lock: str, service: str, writes: int) -> None:
    """Acquires, waits to be told to write, writes and tells."""
    opened = [aio.insecure_channel(address) for address in addresses]
    acquisition = LockAcquisition(name=lock, ttl=Duration(seconds=TTL_SECONDS), wait=Duration(seconds=10))
    answer: Any = await LockServiceStub(opened[0]).AcquireLock(AcquireLockRequest(acquisition=acquisition))
    stubs: list[Any] = [RegistryServiceStub(channel) for channel in opened]
    fence = (("sira-fencing", f"{lock}={answer.acquired.token}"),)
    print("held", flush=True)
    sys.stdin.readline()  # here it is stopped
    stale, other = 0, 0
    for number in range(writes):
        request = UpdateServiceRequest(service=Service(name=service, description="written under a stale token"))
        request.update_mask.paths.append("description")
        try:
            await stubs[number % len(stubs)].UpdateService(request, metadata=fence)
            other += 1
        except aio.AioRpcError as error:
            stale += from_rpc_error(error).reason == STALE
            other += from_rpc_error(error).reason != STALE
    print(stale, other, flush=True)
    for channel in opened:
        await channel.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1].split(","), sys.argv[2], sys.argv[3], int(sys.argv[4])))
