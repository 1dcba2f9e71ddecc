"""Identity directories that are kept up to date on disk."""

from __future__ import annotations

import asyncio
import logging
import os
from random import Random

from sira_client.backoff import Backoff
from sira_client.clock import Clock

from sira_grpc.agent.alarm import Alarm
from sira_grpc.agent.entries import KeptFiles
from sira_grpc.agent.holdings import Holdings, Lease
from sira_grpc.agent.keyed_svid import KeyedSvid
from sira_grpc.agent.safe_path import check_safe
from sira_grpc.agent.trust import Trust
from sira_grpc.svid import identity_directory, x509_svid
from sira_grpc.svid.identity_directory import IdentityFiles

_log = logging.getLogger(__name__)

FIRST_RETRY, LONGEST_RETRY = 1.0, 60.0
"""Seconds between attempts to write: the most before the first and before any."""


class FileKeeper:
    """Writes one identity into one directory whenever it, or what is trusted, has changed.

    Args:
        kept: what, and where to.
        holdings: where it comes from.
        clock, random: time and chance.
    """

    def __init__(self, kept: KeptFiles, holdings: Holdings, *, clock: Clock, random: Random) -> None:
        self._kept = kept
        self._holdings = holdings
        self._backoff = Backoff(FIRST_RETRY, LONGEST_RETRY, random)
        self._alarm = Alarm(clock)
        self._written: IdentityFiles | None = None
        self._subscriber = holdings.files.subscribe(0)
        self._lease: Lease | None = None

    async def run(self) -> None:
        """Keeps it, until the holdings are closed."""
        try:
            serial = await asyncio.to_thread(serial_in, self._kept)
            lease = self._lease = self._holdings.lease(self._kept.identity, self._kept.dns_names, supersedes=serial)
            while not self._holdings.files.closed:
                revision = self._holdings.files.revision
                svid = lease.held.svid
                if svid is not None and not await self._write(files_of(svid, self._holdings.trust)):
                    await self._alarm.wait(self._backoff.next())
                    continue
                self._subscriber.sent(revision)
                await self._subscriber.wait()
        finally:
            self._subscriber.close()
            if self._lease is not None:
                self._lease.close()

    async def _write(self, files: IdentityFiles) -> bool:
        """Writes what is another than what was written last. Returns whether it is on disk."""
        if files == self._written:
            return True
        try:
            await _finish(asyncio.ensure_future(asyncio.to_thread(write, self._kept, files)))
        except OSError as error:
            _log.error("cannot write the identity directory %s: %s", self._kept.directory, error)
            return False
        self._written = files
        self._backoff.reset()
        _log.info("wrote %s into %s", self._kept.identity, self._kept.directory)
        return True


async def _finish(writing: asyncio.Future[None]) -> None:
    """Waits for a write, also when it is cancelled: a thread goes on, and nobody else may begin before it is done."""
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.gather(writing, return_exceptions=True)
        raise


def files_of(svid: KeyedSvid, trust: Trust) -> IdentityFiles:
    """Returns what an identity directory holds of an identity."""
    return IdentityFiles(
        svid=svid.chain_pem,
        key=svid.key_pem,
        bundle=trust.roots_pem,
        crl=trust.crls_pem,
        federated=trust.federated_pem,
    )


def serial_in(kept: KeptFiles) -> str:
    """Returns the serial number of what is in a directory, if it is of the identity that is to be there. Blocks."""
    try:
        leaf = x509_svid.read_pem(identity_directory.read(kept.directory).svid)[0]
        return x509_svid.serial_of(leaf) if x509_svid.identity_of(leaf) == kept.identity else ""
    except (OSError, ValueError):
        return ""


def write(kept: KeptFiles, files: IdentityFiles) -> None:
    """Writes an identity directory and gives the files to their owner. Blocks.

    The folders stay the agent's own: who owns a folder could have the agent write elsewhere.

    Raises:
        OSError: it cannot be written, is not safe to write to, or the files cannot be given away.
    """
    check_safe(kept.directory)
    if kept.gid != -1:
        kept.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chown(kept.directory, -1, kept.gid)
        kept.directory.chmod(0o750)
    owner = kept.uid if kept.uid != -1 else None
    identity_directory.write(kept.directory, files, group_readable=kept.group_readable, owner=owner)
