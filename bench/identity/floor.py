"""The floor over TLS, as a process."""

from __future__ import annotations

import asyncio
import secrets
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import serialization
from grpc import aio

from bench.processes import Server
from sira_grpc.identity.forge import Forge, Terms, general_names
from sira_grpc.identity.sealing import Sealer
from sira_grpc.svid import identity_directory, signing_request, x509_svid
from sira_grpc.svid.identity_directory import IdentityFiles
from sira_grpc.svid.spiffe_id import SpiffeId

SERVER = SpiffeId("floor.sira", ("member", "floor"))


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
    """Starts it with a certificate by a root of its own: the kernel need not wait for it when it rotates.

    Args:
        folder: for its identity directory.
        files: an identity of the kernel's, whose roots verify those who connect.
    """
    root, own = await asyncio.to_thread(_make, files.bundle)
    await asyncio.to_thread(identity_directory.write, folder, own)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "bench.identity.bare_tls", str(folder), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None, "it was started with a pipe"
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError(f"the floor ended with {await process.wait()} before it served")
    plain, mutual = line.decode().split()
    trusting = IdentityFiles(files.svid, files.key, files.bundle + root)
    return Floor(Server(process, plain), plain, mutual, trusting)


def _make(client_roots: bytes) -> tuple[bytes, IdentityFiles]:
    """A root, and what a server below it is started with, by the code that makes the kernel's own."""
    forge = Forge(Terms("floor.sira", 86_400, 86_400, 300), secrets.token_bytes)
    authority = forge.authority(Sealer(secrets.token_bytes(32), secrets.token_bytes, "floor"), now_ns=time.time_ns())
    key, _ = signing_request.make(SERVER)
    names = general_names(["localhost"])
    leaf = forge.leaf(authority, SERVER, names, key.public_key(), now_ns=time.time_ns(), ttl=3600)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    chain = x509_svid.to_pem([leaf, *authority.intermediates])
    return x509_svid.to_pem([authority.root]), IdentityFiles(chain, private, client_roots)
