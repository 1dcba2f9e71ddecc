"""Connections that probes make: by IP address or name, IPv4 or IPv6, plain or TLS."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import ssl
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

_Protocol = TypeVar("_Protocol", bound=asyncio.Protocol)

_RESOLVER_THREADS = 4
"""Threads of their own: names that resolve slowly must not hold up the threads that others wait for."""


def is_ip(address: str) -> bool:
    """Says whether an address is an IPv4 or IPv6 literal."""
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return False
    return True


def host_port(address: str, port: int) -> str:
    """Joins an address and a port as URLs do, IPv6 literals in brackets."""
    return f"[{address}]:{port}" if ":" in address else f"{address}:{port}"


class Dialer:
    """Opens connections without a proxy. Time limits are the caller's: cancelling ends an attempt."""

    def __init__(self) -> None:
        self._resolver = ThreadPoolExecutor(_RESOLVER_THREADS, thread_name_prefix="sira-probe-resolver")

    async def dial(
        self,
        protocol: Callable[[], _Protocol],
        address: str,
        port: int,
        *,
        tls: ssl.SSLContext | None = None,
        server_name: str | None = None,
    ) -> tuple[asyncio.Transport, _Protocol]:
        """Connects, to a name's addresses one after the other, and returns the connection.

        Args:
            server_name: name that the certificate must carry; the address by default.

        Raises:
            OSError: there is no such name, no connection, or no trust.
        """
        name = (server_name or address) if tls is not None else None
        loop = asyncio.get_running_loop()
        failure: OSError = socket.gaierror(socket.EAI_NONAME, "no address")
        for host in await self._resolve(address, port):
            try:
                return await loop.create_connection(protocol, host, port, ssl=tls, server_hostname=name)
            except OSError as error:
                failure = error
        raise failure

    async def _resolve(self, address: str, port: int) -> list[str]:
        if is_ip(address):
            return [address]
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._resolver, _look_up, address, port)

    def close(self) -> None:
        """Lets the threads go, as soon as they are done with what they look up."""
        self._resolver.shutdown(wait=False, cancel_futures=True)


def _look_up(name: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except UnicodeError as error:  # a label that is empty or too long
        raise socket.gaierror(socket.EAI_NONAME, "not a host name") from error
    return list(dict.fromkeys(str(info[4][0]) for info in found))
