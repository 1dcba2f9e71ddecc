"""A program that registers endpoints through the client library, and does nothing more, until it is killed.

Called with the addresses of the members joined by commas, the TTL, the service, and the ids of the endpoints. It prints
a line when they are registered, and another if the client gives a registration up.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import AsyncExitStack

from sira_client import Registration, RegistrationState, connect_insecure


async def lost(registration: Registration) -> None:
    """Says so when a registration is lost for good."""
    state = await registration.wait_for(RegistrationState.FAILED, RegistrationState.SUPERSEDED)
    print(state.value, registration.name, registration.error, flush=True)


async def main(addresses: list[str], ttl: float, service: str, ids: list[str]) -> None:
    """Holds until it is killed."""
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(connect_insecure(addresses))
        registrations = [
            client.register(service, port=80, address="127.0.0.1", endpoint_id=each, ttl=ttl, timeout=60)
            for each in ids
        ]
        await asyncio.gather(*(stack.enter_async_context(registration) for registration in registrations))
        print("registered", flush=True)
        await asyncio.gather(*(lost(registration) for registration in registrations))
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1].split(","), float(sys.argv[2]), sys.argv[3], sys.argv[4:]))
