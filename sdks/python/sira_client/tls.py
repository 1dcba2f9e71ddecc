"""TLS from PEM files."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import grpc


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """PEM files for a connection.

    Attributes:
        ca: certificates of the authorities that may vouch for the server.
        cert: the client's own certificate chain, for mutual TLS. None for none.
        key: the private key that belongs to cert. Given if and only if cert is.
    """

    ca: str | os.PathLike[str]
    cert: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        """Refuses half a pair.

        Raises:
            ValueError: one of cert and key is given without the other.
        """
        if (self.cert is None) != (self.key is None):
            raise ValueError("cert, key: must be given together")

    def credentials(self) -> grpc.ChannelCredentials:
        """Reads the files. Blocks on the disk.

        Raises:
            OSError: a file cannot be read; the error names it.
        """
        return grpc.ssl_channel_credentials(
            root_certificates=Path(self.ca).read_bytes(),
            private_key=None if self.key is None else Path(self.key).read_bytes(),
            certificate_chain=None if self.cert is None else Path(self.cert).read_bytes(),
        )
