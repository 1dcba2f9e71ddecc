"""A client to be killed: holds leases, each by a stream and with an endpoint, says so, and does nothing more.

Called with the address of a kernel and the number of leases.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from grpc import aio
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.registry_service_pb2 import HoldLeaseRequest
from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub


async def main(address: str, streams: int) -> None:
    async with aio.insecure_channel(address) as channel:
        stub: Any = RegistryServiceStub(channel)
        held = []
        for i in range(streams):
            name = f"namespaces/default/services/web/endpoints/e{i}"
            stream = stub.HoldLease()
            endpoints = [Endpoint(name=name, addresses=["127.0.0.1"], port=80)]
            await stream.write(HoldLeaseRequest(endpoints=endpoints, allow_missing_service=True))
            await stream.read()
            held.append(stream)
        print("held", flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
