"""A process that holds a lock, and writes under its token as often as it is told to: `lock_holder.py ADDRESS TTL`."""

from __future__ import annotations

import asyncio
import json
import sys

from sira.registry.v1.registry_service_pb2 import CreateServiceRequest
from sira.registry.v1.service_pb2 import Service
from sira_client import FencingTokenStaleError, connect_insecure


async def main(address: str, ttl: float) -> None:
    async with connect_insecure(address) as client, client.locks().lock("x", ttl=ttl) as held:
        print(json.dumps({"token": held.token}), flush=True)
        tries = 0
        while line := await asyncio.to_thread(sys.stdin.readline):
            # Before anything else has been heard of the kernel: what it knows by its own clock.
            knew = not held.held
            written = refused = 0
            for _ in range(int(line)):
                tries += 1
                service = Service(name=f"namespaces/default/services/by-{held.token}-{tries}")
                try:
                    await client.registry.CreateService(CreateServiceRequest(service=service), metadata=held.metadata)
                    written += 1
                except FencingTokenStaleError:
                    refused += 1
            print(json.dumps({"written": written, "refused": refused, "knew": knew}), flush=True)


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], float(sys.argv[2])))
