"""The local operator: an identity directory beside the kernel, for whoever may read it, kept new while it runs."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

from sira_grpc.identity.trust import Trust
from sira_grpc.svid import identity_directory, x509_svid
from sira_grpc.svid.identity_directory import IdentityFiles
from sira_grpc.svid.spiffe_id import OPERATOR, SpiffeId

NAME = "local"
RETRY_SECONDS = 5.0

log = logging.getLogger(__name__)


class LocalOperator:
    """Writes the directory.

    Args:
        trust: for the bundle.
        directory: where to.
    """

    def __init__(self, trust: Trust, directory: Path) -> None:
        self._trust = trust
        self.directory = directory
        self._held = (b"", b"")
        self._written: IdentityFiles | None = None
        self._writing = asyncio.Lock()
        self._news = asyncio.Event()

    @property
    def identity(self) -> SpiffeId:
        """Whom it is for."""
        return SpiffeId(self._trust.trust_domain, (OPERATOR, NAME))

    async def install(self, chain: bytes, key: bytes, authority: str) -> None:
        """Writes a certificate and its key, and the bundle as it is.

        Raises:
            OSError: the directory cannot be written.
        """
        self._held = (chain, key)
        await self._write()

    def trust_changed(self) -> None:
        """Has the bundle written as it is."""
        self._news.set()

    async def run(self) -> None:
        """Writes the bundle when it has changed, for ever; cancelled by its owner."""
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._write()
            except OSError:
                log.warning("the local operator's bundle cannot be written; it is tried again", exc_info=True)
                await asyncio.sleep(RETRY_SECONDS)
                self._news.set()

    async def _write(self) -> None:
        async with self._writing:
            bundle = x509_svid.to_pem(self._trust.roots()[self._trust.trust_domain])
            files = IdentityFiles(svid=self._held[0], key=self._held[1], bundle=bundle)
            if files != self._written:
                await asyncio.to_thread(identity_directory.write, self.directory, files)
                self._written = files
