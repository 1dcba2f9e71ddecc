"""Clients that are nobody's of ours: with the files of an identity directory they are who it says."""

from __future__ import annotations

import asyncio
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
from sira.identity.v1.identity_service_pb2 import IssueJwtRequest
from sira_client import IdentityFiles, connect

from sira_grpc.config import IdentityConfig, KernelConfig, ServerConfig, StoreConfig
from sira_grpc.kernel import Kernel

SECONDS = 30
PORTS = ServerConfig(addresses=("127.0.0.1:0",), token_addresses=("127.0.0.1:0",))
BUF = Path(sys.prefix) / "bin" / "buf"
STATUS = "sira.kernel.v1.KernelService/GetStatus"


async def output_of(*command: str, code: int = 0) -> str:
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=pipe)
    out, err = await asyncio.wait_for(process.communicate(), SECONDS)
    assert process.returncode is not None
    assert bool(process.returncode) == bool(code), err.decode()
    return out.decode() + err.decode()


@pytest.fixture
def config(tmp_path: Path) -> KernelConfig:
    identity = IdentityConfig(enabled=True, dir=str(tmp_path / "identity"), trust_domain="clients.test")
    return KernelConfig(server=PORTS, store=StoreConfig(data_dir=str(tmp_path / "data")), identity=identity)


async def jwt_of(kernel: Kernel) -> str:
    """A token for the kernel, of its operator."""
    assert kernel.identity is not None
    identity = IdentityFiles(kernel.identity.operator.directory)
    async with connect(kernel.addresses[0], identity=identity) as client:
        return (await client.identity.IssueJwt(IssueJwtRequest(audiences=["spiffe://clients.test"]))).token


def port_of(address: str) -> str:
    return address.rpartition(":")[2]


async def test_buf_curl(config: KernelConfig) -> None:
    async with Kernel(config) as kernel:
        assert kernel.identity is not None
        files = kernel.identity.operator.directory
        trusting = [str(BUF), "curl", "--protocol", "grpc", "--cacert", str(files / "bundle.pem"), "-d", "{}"]
        proving = ["--cert", str(files / "svid.pem"), "--key", str(files / "key.pem")]
        main, tokens = (f"https://localhost:{port_of(a[0])}" for a in (kernel.addresses, kernel.token_addresses))
        answer: dict[str, Any] = json.loads(await output_of(*trusting, *proving, f"{main}/{STATUS}"))
        assert answer["status"]["engine"] == "sqlite"
        bearer = f"authorization: Bearer {await jwt_of(kernel)}"
        shown = await output_of(*trusting, "-H", bearer, "--reflect-header", bearer, f"{tokens}/{STATUS}")
        assert json.loads(shown)["status"]["engine"] == "sqlite"
        await output_of(*trusting, f"{main}/{STATUS}", code=1)


async def test_grpcurl(config: KernelConfig) -> None:
    grpcurl = shutil.which("grpcurl")
    if grpcurl is None:
        pytest.skip("grpcurl is not installed")
    async with Kernel(config) as kernel:
        assert kernel.identity is not None
        files = kernel.identity.operator.directory
        main = f"localhost:{port_of(kernel.addresses[0])}"
        trusting = [grpcurl, "-cacert", str(files / "bundle.pem")]
        proving = ["-cert", str(files / "svid.pem"), "-key", str(files / "key.pem")]
        assert "sira.identity.v1.AuthorityService" in await output_of(*trusting, *proving, main, "list")
        assert '"engine": "sqlite"' in await output_of(*trusting, *proving, main, STATUS)
        await output_of(*trusting, main, "list", code=1)
