"""Ports of processes that are killed and come back: none that the system gives to connections meanwhile."""

from __future__ import annotations

import random
import socket
from collections.abc import Iterator
from pathlib import Path

FIRST = 10_240
RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
EPHEMERAL = 32_768
"""Where the ports begin that the system chooses from, if it does not say."""


def steady_ports(count: int) -> list[int]:
    """Returns ports of loopback that nothing listens on now, below those that the system chooses from."""
    last = int(RANGE.read_text().split()[0]) if RANGE.exists() else EPHEMERAL
    return [port for port, _ in zip(_free(max(last, FIRST + 1_000)), range(count), strict=False)]


def _free(last: int) -> Iterator[int]:
    # Not the chance of a seed: runs at the same time must not get the same.
    for port in random.SystemRandom().sample(range(FIRST, last), last - FIRST):
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue  # somebody has it
        yield port
