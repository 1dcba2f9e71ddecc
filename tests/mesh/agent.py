"""The identity agent of the matrix's host: it keeps the identity directories of everybody who has one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from pathlib import Path

import yaml
from sira.identity.v1 import authority_service_pb2 as pb
from sira.identity.v1.join_token_pb2 import JoinToken
from sira_client import Client

DOMAIN = "sira.internal"
NAMESPACE = "mesh"
NODE = f"spiffe://{DOMAIN}/node/host"
STOP_SECONDS = 20


def identity_of(service: str) -> str:
    """The SPIFFE ID of a service of the matrix."""
    return f"spiffe://{DOMAIN}/ns/{NAMESPACE}/svc/{service}"


@asynccontextmanager
async def agent(
    client: Client, kernel: str, token_door: str, services: Iterable[str], folder: Path
) -> AsyncIterator[None]:
    """Runs `sira identity agent` for the length of the block; it has written all directories when the block begins.

    Args:
        client: of the operator.
        kernel, token_door: the kernel's addresses.
        services: ids of those who get an identity, in `folder/{id}`.
        folder: for all that it writes.
    """
    token = JoinToken(identities=[NODE], delegated=[f"spiffe://{DOMAIN}/ns/{NAMESPACE}/svc/*"], max_uses=1)
    made = await client.authority.CreateJoinToken(pb.CreateJoinTokenRequest(join_token=token))
    files = [{"identity": identity_of(service), "directory": str(folder / service)} for service in services]
    configuration = folder / "agent.yaml"
    configuration.write_text(yaml.safe_dump({"kernel": [kernel], "files": files}))
    options = [
        "--config",
        str(configuration),
        "--dir",
        str(folder / "node"),
        "--join",
        token_door,
        "--name",
        "node/host",
    ]
    with (folder / "agent.log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sira_grpc", "identity", "agent", "-o", "json", *options),
            env={**os.environ, "SIRA_JOIN_TOKEN": made.secret, "SIRA_LOG_LEVEL": "warning"},
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    try:
        ready = await process.stdout.readline()
        assert ready, (folder / "agent.log").read_text()
        assert json.loads(ready)["identity"] == NODE
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()
