"""A process that registers itself and waits to be killed: `python -m bench.registry.holder ADDRESS NUMBER`.

Its lease is bound to a stream. It prints a line when it is registered.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any

from grpc import aio
from sira.registry.v1 import registry_service_pb2 as registry

from bench.registry import messages


async def main() -> None:
    """Holds a lease until it is killed."""
    async with aio.insecure_channel(sys.argv[1]) as channel:
        stream: Any = channel.stream_stream(messages.REGISTRY + "HoldLease")()
        request = registry.HoldLeaseRequest(endpoints=[messages.endpoint("mortal", int(sys.argv[2]))])
        request.allow_missing_service = True
        await stream.write(request.SerializeToString())
        await stream.read()
        print("registered", flush=True)
        await stream.read()


if __name__ == "__main__":
    asyncio.run(main())
