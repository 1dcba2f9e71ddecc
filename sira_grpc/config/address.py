"""The form of a listening address, and whether plaintext may be spoken on it."""

from __future__ import annotations

import ipaddress

from sira_grpc.errors import ConfigError

_UNIX = "unix:"


def is_unix(address: str) -> bool:
    """Whether the address is a Unix socket, `unix:path`."""
    return address.startswith(_UNIX)


def is_local(address: str) -> bool:
    """Whether only this machine can reach the address: a Unix socket or a loopback one.

    A name counts as local only if it is `localhost`, because what another name leads to can change.
    """
    if is_unix(address):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_address(key: str, address: str, *, empty_host: bool = False) -> None:
    """Refuses what is neither `host:port` nor `unix:path`.

    Raises:
        ConfigError: names the key and the rule.
    """
    if is_unix(address):
        if address == _UNIX:
            raise ConfigError(f"{key}: {address!r} lacks the path after `unix:`")
        return
    host, colon, port = address.rpartition(":")
    if not colon or not (host or empty_host):
        raise ConfigError(f"{key}: {address!r} is neither host:port nor unix:path")
    if ":" in host and not (host.startswith("[") and host.endswith("]")):
        raise ConfigError(f"{key}: {address!r} must have its IPv6 address in brackets, as in [::1]:7400")
    if not (port.isascii() and port.isdigit() and int(port) <= 65_535):
        raise ConfigError(f"{key}: {address!r} must end in a port, 0 to 65535; 0 lets the system choose")
