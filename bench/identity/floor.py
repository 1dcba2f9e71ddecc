"""The floor over TLS, as a process."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from grpc import aio

from bench.processes import Server
from sira_grpc.svid.identity_directory import IdentityFiles


@dataclass(slots=True)
class Floor:
    """The floor.

    Attributes:
        server: its process.
        plain: address without client certificates.
        mutual: address with.
        files: an identity that may connect, and the roots.
    """

    server: Server
    plain: str
    mutual: str
    files: IdentityFiles

    @staticmethod
    def raw(opened: Sequence[aio.Channel]) -> list[Any]:
        """Channels for calls with bytes, which the stubs of grpc cannot type."""
        return list(opened)


async def launch(folder: Path, files: IdentityFiles) -> Floor:
    """Starts it with the identity directory in a folder."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.identity.bare_tls", str(folder), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None, "it was started with a pipe"
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError(f"the floor ended with {await process.wait()} before it served")
    plain, mutual = line.decode().split()
    return Floor(Server(process, plain), plain, mutual, files)
