"""A kernel with identity, as a process, and the means to talk to it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import grpc
from grpc import aio
from sira.identity.v1.authority_service_pb2_grpc import AuthorityServiceStub
from sira.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

from bench.processes import Server
from sira_grpc.svid import identity_directory
from sira_grpc.svid.identity_directory import IdentityFiles

if TYPE_CHECKING:
    from sira.identity.v1.authority_service_pb2_grpc import AuthorityServiceAsyncStub
    from sira.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

TRUST_DOMAIN = "bench.sira"
OPTIONS = (
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each channel
    ("grpc.ssl_target_name_override", "localhost"),
)


@dataclass(slots=True)
class IdentityKernel:
    """A kernel that runs.

    Attributes:
        server: its process.
        address: where callers show certificates.
        token_address: where they do not.
        folder: of its data.
    """

    server: Server
    address: str
    token_address: str
    folder: Path

    def operator(self) -> IdentityFiles:
        """The local operator's identity, as it is now."""
        return identity_directory.read(self.folder / "identity" / "operator")


async def launch(folder: Path, settings: Mapping[str, str] | None = None) -> IdentityKernel:
    """Starts `sira up` on ports that the system chooses.

    Args:
        folder: for all that it keeps.
        settings: further variables of its configuration.
    """
    environment = {
        **os.environ,
        "SIRA_SERVER_ADDRESSES": "127.0.0.1:0",
        "SIRA_SERVER_TOKEN_ADDRESSES": "127.0.0.1:0",
        "SIRA_STORE_DATA_DIR": str(folder / "data"),
        "SIRA_IDENTITY_DIR": str(folder / "identity"),
        "SIRA_IDENTITY_TRUST_DOMAIN": TRUST_DOMAIN,
        **(settings or {}),
    }
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "sira_grpc", "up", "-o", "json"),
        env=environment,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    assert process.stdout is not None, "it was started with a pipe"
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError(f"sira up ended with {await process.wait()} before it served")
    ready: dict[str, Any] = json.loads(line)
    address, token_address = ready["addresses"][0], ready["tokenAddresses"][0]
    return IdentityKernel(Server(process, address), address, token_address, folder)


def channel(address: str, files: IdentityFiles | None, roots: bytes = b"") -> aio.Channel:
    """Opens a connection of its own: with a certificate, or, with roots alone, without."""
    if files is None:
        credentials = grpc.ssl_channel_credentials(roots)
    else:
        credentials = grpc.ssl_channel_credentials(files.bundle, files.key, files.svid)
    return aio.secure_channel(address, credentials, OPTIONS)


def identity_stub(opened: aio.Channel) -> IdentityServiceAsyncStub:
    """The callers' side."""
    return IdentityServiceStub(opened)


def authority_stub(opened: aio.Channel) -> AuthorityServiceAsyncStub:
    """The operator's side."""
    return AuthorityServiceStub(opened)
