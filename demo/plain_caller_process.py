"""One caller of the greeter service that has no SDK: a plain gRPC client, which calls a target until SIGTERM.

For a target `xds:///...` the environment names a bootstrap file; any other target is an Envoy on this machine.
"""

from __future__ import annotations

import argparse
import asyncio
import signal

import grpc

from demo.calling import Caller


def connect(target: str) -> grpc.aio.Channel:
    """Opens a channel. What xDS says of TLS holds: what it falls back to without would fit nobody here."""
    if target.startswith("xds:"):
        return grpc.aio.secure_channel(target, grpc.xds_channel_credentials(grpc.ssl_channel_credentials()))
    return grpc.aio.insecure_channel(target, options=[("grpc.default_authority", "greeter")])


async def call(name: str, target: str, rate: float) -> None:
    """Calls until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with connect(target) as channel:
        await channel.channel_ready()
        await Caller(name, channel).run(rate, stop)


def main() -> None:
    """Reads the command line and calls."""
    parser = argparse.ArgumentParser()
    parser.add_argument("name")
    parser.add_argument("target")
    parser.add_argument("rate", type=float)
    arguments = parser.parse_args()
    asyncio.run(call(arguments.name, arguments.target, arguments.rate))


if __name__ == "__main__":
    main()
