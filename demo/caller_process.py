"""One caller of the greeter service: calls it at a steady rate through a balanced channel until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import signal

from sira_client import IdentityFiles, Locality, RetryPolicy, connect

from demo.calling import Attempts, Caller


async def call(kernel: str, source: IdentityFiles, name: str, locality: Locality, rate: float) -> None:
    """Calls over mutual TLS until SIGTERM: who answers has proved to be the service."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with connect(kernel, identity=source) as client:
        channel = client.channel(
            "greeter", locality=locality, retry=RetryPolicy(idempotent=True), interceptors=[Attempts()]
        )
        await channel.channel_ready()
        await Caller(name, channel).run(rate, stop)


def main() -> None:
    """Reads the command line and calls."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kernel")
    parser.add_argument("identity")
    parser.add_argument("name")
    parser.add_argument("region")
    parser.add_argument("zone")
    parser.add_argument("rate", type=float)
    arguments = parser.parse_args()
    place = Locality(region=arguments.region, zone=arguments.zone)
    source = IdentityFiles(arguments.identity, timeout=10.0)
    asyncio.run(call(arguments.kernel, source, arguments.name, place, arguments.rate))


if __name__ == "__main__":
    main()
