"""Network addresses: which are loopback, how gRPC wants them written, and which one is this machine's own."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Sequence

_UNIX = ("unix:", "unix-abstract:")


def split(address: str) -> tuple[str, int]:
    """Splits `host:port`, `1.2.3.4:port` or `[::1]:port`.

    Raises:
        ValueError: it is none of these.
    """
    host, colon, port = address.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    if not colon or not host or (":" in host and not bracketed) or not port.isdecimal() or not 0 < int(port) < 65536:
        raise ValueError(f"address: {address!r} must be host:port, [ipv6]:port or unix:path")
    return host[1:-1] if bracketed else host, int(port)


def check(address: str) -> str:
    """Returns the address of a kernel if it is one.

    Raises:
        ValueError: it is malformed.
    """
    if not address.startswith(_UNIX):
        split(address)
    return address


def is_local(address: str) -> bool:
    """Whether what is sent to the address of a kernel stays on this machine."""
    if address.startswith(_UNIX):
        return True
    host, _ = split(address)
    if host == "localhost":
        return True
    ip = _ip(host)
    return ip is not None and ip.is_loopback


def _ip(host: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None


def target(hosts: Sequence[str], port: int) -> str:
    """How gRPC is told to connect: to the hosts in their order, as far as they are of the kind of the first."""
    first = _ip(hosts[0])
    if first is None:
        return f"dns:///{hosts[0]}:{port}"
    if first.version == 4:
        same = [host for host in hosts if isinstance(_ip(host), ipaddress.IPv4Address)]
        return "ipv4:" + ",".join(f"{host}:{port}" for host in same)
    same = [host for host in hosts if isinstance(_ip(host), ipaddress.IPv6Address)]
    return "ipv6:" + ",".join(f"[{host}]:{port}" for host in same)


def grpc_target(address: str) -> str:
    """How gRPC is told to connect to the address of a kernel."""
    if address.startswith(_UNIX):
        return address
    host, port = split(address)
    return target([host], port)


async def own_address(kernel: str) -> str:
    """The address under which others reach this machine: the one from which packets to the kernel leave.

    Raises:
        OSError: there is no way to the kernel's address.
    """
    if is_local(kernel):
        return "127.0.0.1"
    host, port = split(kernel)
    loop = asyncio.get_running_loop()
    family, kind, protocol, _, where = (await loop.getaddrinfo(host, port, type=socket.SOCK_DGRAM))[0]
    with socket.socket(family, kind, protocol) as probe:
        probe.connect(where)  # of a datagram socket: picks the route, sends nothing, does not block
        own: str = probe.getsockname()[0]
    return own
