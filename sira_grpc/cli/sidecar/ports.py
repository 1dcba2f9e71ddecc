"""`PORT:TARGET_PORT` arguments."""

from __future__ import annotations

from collections.abc import Sequence

from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.xds.node import Inbound

MAX_INBOUND = 16


def parse(texts: Sequence[str], egress: int) -> tuple[Inbound, ...]:
    """Reads the inbound ports.

    Args:
        texts: as typed: `15006:50051`, where Envoy listens and where the service does.
        egress: the port for calls to other services; 0 for none.

    Raises:
        Failure: one cannot be read, or ports collide.
    """
    if len(texts) > MAX_INBOUND:
        raise Failure(f"--inbound: there may be {MAX_INBOUND} at most", ExitCode.USAGE)
    found = tuple(_one(text) for text in texts)
    taken = [each.port for each in found] + ([egress] if egress else [])
    for each in found:
        if taken.count(each.port) > 1:
            raise Failure(f"--inbound: port {each.port} is to be listened at twice", ExitCode.USAGE)
        if each.target_port in taken:
            raise Failure(f"--inbound: {each.target_port} is a port of Envoy's, and leads to itself", ExitCode.USAGE)
    return found


def _one(text: str) -> Inbound:
    port, colon, target = text.partition(":")
    numbers = [int(part) for part in (port, target) if part.isascii() and part.isdecimal() and len(part) <= 5]
    if not colon or len(numbers) != 2 or not all(1 <= number <= 65_535 for number in numbers):
        raise Failure(
            f"--inbound: {text!r} must be PORT:TARGET_PORT, such as 15006:50051: where Envoy is to listen, and where "
            "the service does on loopback",
            ExitCode.USAGE,
        )
    return Inbound(*numbers)
