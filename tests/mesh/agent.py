"""The identity agent of the matrix's host: it keeps the identity directories of everybody who has one."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Iterable, Sequence
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


class Agent:
    """`sira identity agent` as a process, which can be started again. Made by `running`.

    Args:
        arguments: of the command.
        log: file of what it writes to stderr.
        secret: of the join token that it begins with.
    """

    def __init__(self, arguments: Sequence[str], log: Path, secret: str) -> None:
        self._arguments = arguments
        self._log = log
        self._secret = secret
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Starts it; when this returns it has written all directories, each with a new certificate."""
        with self._log.open("ab") as log:
            process = self._process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "sira_grpc", "identity", "agent", "-o", "json", *self._arguments),
                env={**os.environ, "SIRA_JOIN_TOKEN": self._secret, "SIRA_LOG_LEVEL": "warning"},
                stdout=asyncio.subprocess.PIPE,
                stderr=log,
            )
        assert process.stdout is not None
        ready = await process.stdout.readline()
        assert ready, f"the agent does not get ready: see {self._log}"
        assert json.loads(ready)["identity"] == NODE

    async def stop(self) -> None:
        """Ends it in good order."""
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.terminate()
        async with asyncio.timeout(STOP_SECONDS):
            await process.wait()


@asynccontextmanager
async def running(
    client: Client, kernel: str, token_door: str, services: Iterable[str], folder: Path
) -> AsyncIterator[Agent]:
    """Runs an agent for the length of the block.

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
    arguments = ("--config", str(configuration), "--dir", str(folder / "node"), "--join", token_door)
    agent = Agent((*arguments, "--name", "node/host"), folder / "agent.log", made.secret)
    try:
        await agent.start()
        yield agent
    finally:
        await agent.stop()
