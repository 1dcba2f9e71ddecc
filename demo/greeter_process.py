"""One process of the greeter service: serves it, registers, and reports its load until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.wrappers_pb2 import StringValue
from grpc_health.v1 import health, health_pb2_grpc
from sira_client import GrpcCheck, HealthCheck, IdentityFiles, Locality, Registration, connect

from demo.greeter import greeting, handler

LEASE_SECONDS = 8.0
REPORT_SECONDS = 0.2
WORK_SECONDS = (0.005, 0.03)
"""How long a greeting takes: long enough for some to be under way whenever something happens."""


class Greeter:
    """Greets, and knows how many it is greeting right now."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._in_flight = 0

    async def greet(
        self, request: StringValue, context: grpc.aio.ServicerContext[StringValue, StringValue]
    ) -> StringValue:
        """The method."""
        self._in_flight += 1
        try:
            await asyncio.sleep(random.uniform(*WORK_SECONDS))
            return greeting(request.value, self._name)
        finally:
            self._in_flight -= 1

    async def report(self, registration: Registration) -> None:
        """Reports its load for ever."""
        while True:
            registration.report_load(in_flight=self._in_flight)
            await asyncio.sleep(REPORT_SECONDS)


async def serve(kernel: str, source: IdentityFiles, name: str, locality: Locality, version: str) -> None:
    """Serves over mutual TLS until SIGTERM; then has callers go elsewhere, deregisters and ends."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    greeter = Greeter(name)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers([handler(greeter.greet)])
    health_pb2_grpc.add_HealthServicer_to_server(health.aio.HealthServicer(), server)
    async with source as identity, connect(kernel, identity=identity) as client:
        port = server.add_secure_port("127.0.0.1:0", identity.server_credentials())
        await server.start()
        check = HealthCheck(grpc=GrpcCheck(tls=True), interval=Duration(seconds=1), fall=2)
        async with client.register(
            "greeter",
            port=port,
            endpoint_id=name,
            locality=locality,
            version=version,
            health_check=check,
            ttl=LEASE_SECONDS,
        ) as registration:
            reporting = asyncio.create_task(greeter.report(registration))
            await stop.wait()
        # Until the registration has ended: who drains waits for the report that nothing is in flight.
        reporting.cancel()
        await server.stop(grace=1.0)


def main() -> None:
    """Reads the command line and serves."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kernel")
    parser.add_argument("identity")
    parser.add_argument("name")
    parser.add_argument("region")
    parser.add_argument("zone")
    parser.add_argument("version")
    arguments = parser.parse_args()
    place = Locality(region=arguments.region, zone=arguments.zone)
    source = IdentityFiles(arguments.identity, timeout=10.0)
    asyncio.run(serve(arguments.kernel, source, arguments.name, place, arguments.version))


if __name__ == "__main__":
    main()
