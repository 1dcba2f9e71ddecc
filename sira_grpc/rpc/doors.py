"""The addresses of the server: which credentials each is bound with, and the ports that the system chose."""

from __future__ import annotations

import socket
from collections.abc import Callable

import grpc
from grpc import aio

from sira_grpc.config import ServerConfig
from sira_grpc.errors import ConfigError
from sira_grpc.identity.member import Credentials
from sira_grpc.rpc.credentials import server_credentials
from sira_grpc.rpc.dynamic_credentials import dynamic_credentials

_UNIX = "unix:"


class Doors:
    """Binds the addresses of the configuration.

    Args:
        config: the server section.
        member: returns the kernel's own credentials as they are; None without identity.

    Raises:
        ConfigError: the TLS files cannot be used.
    """

    def __init__(self, config: ServerConfig, member: Callable[[], Credentials] | None) -> None:
        self._config = config
        self._member = member
        self._fixed = server_credentials(config.tls) if member is None and config.tls.enabled else None

    def bind(self, server: aio.Server) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Binds every address. Returns those of server.addresses and server.token_addresses, with their ports.

        Raises:
            ConfigError: an address is taken or cannot be bound.
        """
        main = tuple(
            self._bind(server, f"server.addresses[{index}]", address, clients=True)
            for index, address in enumerate(self._config.addresses)
        )
        if self._member is None:
            return main, ()
        return main, tuple(
            self._bind(server, f"server.token_addresses[{index}]", address, clients=False)
            for index, address in enumerate(self._config.token_addresses)
        )

    def _bind(self, server: aio.Server, key: str, address: str, *, clients: bool) -> str:
        if address.startswith(_UNIX):
            if _answers(address.removeprefix(_UNIX)):
                raise ConfigError(f"{key}: {address} is taken: another process answers there")
            self._listen(server, key, address, None)
            return address
        # Each address has its own: what one was given is no news to the others.
        dynamic = dynamic_credentials(self._member, clients=clients) if self._member is not None else None
        port = self._listen(server, key, address, dynamic or self._fixed)
        return f"{address.rpartition(':')[0]}:{port}"

    @staticmethod
    def _listen(server: aio.Server, key: str, address: str, credentials: grpc.ServerCredentials | None) -> int:
        try:
            if credentials is not None:
                return server.add_secure_port(address, credentials)
            return server.add_insecure_port(address)
        except RuntimeError as error:
            raise ConfigError(
                f"{key}: {address} cannot be bound; it is taken, or no address of this machine"
            ) from error


def _answers(path: str) -> bool:
    """Whether somebody listens on a Unix socket: gRPC would take its place without a word."""
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(path)
        except OSError:
            return False
        return True
