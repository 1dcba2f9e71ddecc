"""A process that serves the echo service under its process id and registers it, until it is killed."""

from __future__ import annotations

import asyncio
import os
import sys

from sira_client import connect_insecure

from tests.unit.client.echo import Echo


async def main(kernel: str) -> None:
    """Serves and registers, and says so in a line."""
    echo = Echo(str(os.getpid()))
    await echo.start()
    async with connect_insecure(kernel) as client, client.register("echo", port=echo.port) as registration:
        print(registration.name, flush=True)
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1]))
