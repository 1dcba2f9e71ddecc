"""`sira register`: keeps an address registered for as long as the command runs."""

from __future__ import annotations

import asyncio
import signal
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sira_grpc.cli import cells, client, durations, health_check, names, pairs, place
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Printer, say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira_client import Registration

    from sira_grpc.cli.contexts import Context

Address = Annotated[
    str,
    typer.Argument(metavar="[HOST]:PORT", help="Where callers reach it. Without a host, at this machine's address."),
]


@connected
def register(
    session: Session,
    service: Annotated[str, typer.Argument(help="Name of the service, such as `checkout`.")],
    address: Address,
    namespace: Namespace = None,
    endpoint_id: Annotated[str | None, typer.Option("--id", help="Id of the endpoint. Default: made up.")] = None,
    region: place.Region = "",
    zone: place.Zone = "",
    weight: Annotated[int, typer.Option(min=0, help="Share of calls relative to its peers; 0: the usual, 100.")] = 0,
    version: Annotated[str, typer.Option(help="Version of the software that runs there.")] = "",
    tag: Annotated[list[str] | None, typer.Option(help="A tag; repeatable.")] = None,
    metadata: pairs.Metadata = None,
    check: health_check.Check = None,
    check_interval: health_check.CheckInterval = None,
    ttl: Annotated[str, typer.Option(help="How long it outlives a lost connection.")] = "15s",
    drain: Annotated[str, typer.Option(help="How long callers have at the end to go elsewhere; 0: none.")] = "5s",
    create: Annotated[bool, typer.Option(help="Create the service if it is not there.")] = True,
) -> None:
    """Register an address as an endpoint, and keep it registered until Ctrl-C; then drain and deregister it.

    It stays registered while the kernel restarts.
    """
    host, port = _split(address)
    wanted = {
        "service": names.service_name(service, session.namespace(namespace)),
        "port": port,
        "address": host or None,
        "endpoint_id": endpoint_id,
        "locality": place.locality(region, zone),
        "weight": weight,
        "version": version,
        "tags": tag or (),
        "metadata": pairs.parse(metadata),
        "health_check": health_check.parse(check, check_interval),
        "ttl": durations.parse(ttl, "--ttl").total_seconds(),
        "drain_timeout": durations.parse(drain, "--drain").total_seconds(),
        "allow_missing_service": create,
        "timeout": session.timeout,
    }
    _ = session.credentials  # what cannot be used is told before it is tried again and again
    asyncio.run(_register(session.context, wanted, session.printer))


async def _register(context: Context, wanted: dict[str, Any], printer: Printer) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    async with (
        client.accepted(client.of, context) as kernel,
        client.accepted(kernel.register, **wanted) as registration,
    ):
        endpoint = registration.endpoint
        where = cells.endpoint_address(endpoint)
        printer.next(endpoint, lambda: [f"registered {endpoint.name} at {where}"])
        await _stay(registration, stop)
        say("draining")
    say("deregistered")


async def _stay(registration: Registration, stop: asyncio.Event) -> None:
    """Tells how the registration is, until it is to be stopped or is lost for good.

    Raises:
        SiraError: it was lost for good.
    """
    telling = asyncio.ensure_future(tell(registration))
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({telling, stopping}, return_when=asyncio.FIRST_COMPLETED)
        if telling.done():
            await telling
    finally:
        telling.cancel()
        stopping.cancel()


async def tell(registration: Registration) -> None:
    """Says when the connection of a registration is lost, and when it is back.

    Raises:
        SiraError: the registration was lost for good.
    """
    from sira_client import RegistrationState

    while True:
        await registration.wait_for(RegistrationState.RECONNECTING)
        say(f"connection lost, trying again: {registration.error}")
        await registration.wait_for(RegistrationState.HELD)
        say("connected again")


def _split(address: str) -> tuple[str, int]:
    """The host, without brackets and perhaps empty, and the port of an address."""
    host, _, port = address.rpartition(":")
    if not port.isdecimal():
        raise Failure(f"[HOST]:PORT: {address!r} must be like 10.0.0.1:8080, [::1]:8080 or :8080", ExitCode.USAGE)
    return host.removeprefix("[").removesuffix("]"), int(port)
