"""The identity in a directory, as somebody else keeps it renewed there."""

from __future__ import annotations

import asyncio
import os
import ssl
from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import TypeVar

from sira_client.identity import der, pem
from sira_client.identity.identity import Identity
from sira_client.identity.source import IdentitySource
from sira_client.settings import Settings

LOOK_SECONDS = 1.0
"""How often to look for a change."""

_ATTEMPTS = 10
"""How often to begin again where files change while they are read."""
_CURRENT = ".current"
_SVID, _KEY, _BUNDLE, _FEDERATED = "svid.pem", "key.pem", "bundle.pem", "federated"

T = TypeVar("T")
Stamp = tuple[str, tuple[tuple[str, int, int, int], ...]]


class IdentityFiles(IdentitySource):
    """Reads an identity directory, and reads it again when it has changed.

    It holds `svid.pem`, `key.pem`, `bundle.pem` and maybe `federated/{trust domain}.pem`, as `sira identity agent`
    writes them: then they change all at once. Plain files will do too: they count once key and certificate fit.

    Args:
        directory: where the files are.
        timeout: how long, in seconds, to wait for them at first. Default 0: they must be there.
        settings: back-off and clock; None for the defaults.
    """

    def __init__(
        self, directory: str | os.PathLike[str], *, timeout: float = 0.0, settings: Settings | None = None
    ) -> None:
        super().__init__(timeout=timeout, settings=settings)
        self._directory = Path(directory)

    def __str__(self) -> str:
        """What it is called in messages."""
        return f"the identity directory {self._directory}"

    async def follow(self) -> AsyncGenerator[Identity, None]:
        """See Source.

        Raises:
            OSError: a file cannot be read; the error names it.
            ValueError: a file does not hold what it should; the error names it.
        """
        while True:
            identity, stamp = await asyncio.to_thread(read, self._directory)
            yield identity
            while True:
                await self._settings.clock.sleep(LOOK_SECONDS)
                if await asyncio.to_thread(_stamp, self._directory) != stamp:
                    break


def read(directory: Path) -> tuple[Identity, Stamp]:
    """Reads files that fit together, and what they looked like. Blocks on the disk.

    Raises:
        OSError: one cannot be read; the error names it.
        ValueError: one does not hold what it should; the error names it.
    """
    for _ in range(_ATTEMPTS):
        before = _stamp(directory)
        try:
            identity = _read(_folder(directory))
        except (OSError, ValueError):
            if _stamp(directory) == before:
                raise
        else:
            if _stamp(directory) == before:
                return identity, before
    raise OSError(f"{directory}: its files change faster than they can be read")


def _read(folder: Path) -> Identity:
    svid, key, bundle = ((folder / name).read_bytes() for name in (_SVID, _KEY, _BUNDLE))
    certificates = _checked(folder / _SVID, pem.read_certificates, svid)
    _checked(folder / _KEY, pem.check_key, key)
    _checked(folder / _BUNDLE, pem.read_certificates, bundle)
    _check_pair(folder)
    federated = {path.stem: path.read_bytes() for path in sorted((folder / _FEDERATED).glob("*.pem"))}
    for domain, roots in federated.items():
        _checked(folder / _FEDERATED / f"{domain}.pem", pem.read_certificates, roots)
    return Identity(svid, key, bundle, _checked(folder / _SVID, der.spiffe_id, certificates[0]), federated)


def _checked(path: Path, check: Callable[[bytes], T], content: bytes) -> T:
    try:
        return check(content)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None  # which may hold some of the content


def _check_pair(folder: Path) -> None:
    """Tells a key that is not the certificate's now: gRPC would only fail to connect."""
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_cert_chain(folder / _SVID, folder / _KEY, password=lambda: b"")
    except ssl.SSLError as error:
        raise ValueError(f"{folder / _KEY}: must be the private key of {_SVID}: {error.reason}") from None


def _folder(directory: Path) -> Path:
    """Where all files of one generation are."""
    try:
        return directory / os.readlink(directory / _CURRENT)
    except OSError:
        return directory


def _stamp(directory: Path) -> Stamp:
    """What changes when the files do."""
    folder = _folder(directory)
    paths = [folder / name for name in (_SVID, _KEY, _BUNDLE)] + sorted((folder / _FEDERATED).glob("*.pem"))
    looks = []
    for path in paths:
        try:
            found = path.stat()
        except OSError:
            continue
        looks.append((path.name, found.st_ino, found.st_mtime_ns, found.st_size))
    return folder.name, tuple(looks)
