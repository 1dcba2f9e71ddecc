"""A kernel with identity, agents that join it, and programs that ask them: all of it real."""

from __future__ import annotations

import asyncio
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec
from sira.identity.v1.join_token_pb2 import JoinToken
from sira.identity.v1.rotation_pb2 import RotationStage
from sira.identity.workload.v1 import workload_pb2

from sira_grpc.agent import AgentConfig, Joining
from sira_grpc.config import IdentityConfig, KernelConfig, ServerConfig, StoreConfig
from sira_grpc.identity.identity import Identity
from sira_grpc.kernel import Kernel
from sira_grpc.svid.join_secret import JoinSecret
from tests.integration import agent_workload

DOMAIN = "mesh.test"
NODE = f"spiffe://{DOMAIN}/node/one"
CHECKOUT, LEGACY = "ns/default/svc/checkout", "ns/default/svc/legacy"
PATIENCE = 30
"""Seconds after which a test gives up."""
PYTHON = os.path.realpath(sys.executable)
PATHS = [str(Path(workload_pb2.__file__).parents[4]), *filter(None, sys.path)]
"""Where Python finds what is installed here, also when it is a copy somewhere else."""
MINE = {"identity": CHECKOUT, "uid": os.geteuid()}


class KernelWorld:
    """A kernel in this process, that can be stopped and started again at the same ports."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._addresses: tuple[tuple[str, ...], tuple[str, ...]] = (("127.0.0.1:0",), ("127.0.0.1:0",))
        self.kernel: Kernel | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        config = KernelConfig(
            server=ServerConfig(addresses=self._addresses[0], token_addresses=self._addresses[1], drain_grace=0.1),
            store=StoreConfig(data_dir=str(self._folder / "data")),
            identity=IdentityConfig(
                enabled=True, trust_domain=DOMAIN, dir=str(self._folder / "identity"), rotation_min_stage=0
            ),
        )
        self.kernel = Kernel(config)
        await self.kernel.__aenter__()
        self._addresses = (self.kernel.addresses, self.kernel.token_addresses)

    async def stop(self) -> None:
        if self.kernel is not None:
            kernel, self.kernel = self.kernel, None
            await kernel.__aexit__(None, None, None)

    @property
    def identity(self) -> Identity:
        assert self.kernel is not None
        assert self.kernel.identity is not None
        return self.kernel.identity

    async def secret(self, identity: str = NODE, *delegated: str, uses: int = 1) -> JoinSecret:
        """Makes a join token for a node, which may speak for some identities."""
        token = JoinToken(identities=[identity], delegated=delegated, max_uses=uses)
        _, secret = await self.identity.tokens.create(token, ttl=3600, actor="test")
        return JoinSecret.parse(str(secret))

    async def joining(self) -> Joining:
        secret = await self.secret(NODE, f"spiffe://{DOMAIN}/ns/*/svc/*")
        return Joining(self.token_door, secret, "node/one")

    @property
    def door(self) -> str:
        return self._addresses[0][0]

    @property
    def token_door(self) -> str:
        return self._addresses[1][0]

    def config(
        self,
        socket: Path | None = None,
        *,
        workloads: Sequence[Mapping[str, Any]] = (MINE,),
        files: Sequence[Mapping[str, Any]] = (),
    ) -> AgentConfig:
        return msgspec.convert(self.settings(socket, workloads=workloads, files=files), AgentConfig)

    def settings(
        self, socket: Path | None, *, workloads: Sequence[Mapping[str, Any]], files: Sequence[Mapping[str, Any]]
    ) -> dict[str, Any]:
        served: dict[str, Any] = {"socket": str(socket), "workloads": list(workloads)} if socket else {}
        return {"kernel": [self.door], **served, "files": list(files)}

    async def until(self, stage: RotationStage.ValueType | None) -> None:
        """Returns once a rotation has come to a stage; None: has ended."""
        view = self.identity.view
        async with asyncio.timeout(PATIENCE):
            while (view.rotation.value.stage if view.rotation is not None else None) != stage:
                await view.caught_up(view.revision + 1)


class Workload:
    """A process that asks the agent; see agent_workload. At the end of the block it ends."""

    def __init__(self, socket: Path, *, program: str = PYTHON, uid: int | None = None) -> None:
        who = [] if uid is None else [str(uid), str(uid)]
        self._process = subprocess.Popen(
            [program, agent_workload.__file__, str(socket), *who],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONHOME": sys.base_prefix, "PYTHONPATH": os.pathsep.join(PATHS)},
        )
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        await asyncio.to_thread(self._process.wait)
        await asyncio.to_thread(self._reader.join)
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    @property
    def pid(self) -> int:
        return self._process.pid

    async def answer(self) -> dict[str, Any]:
        """Waits for the next answer."""
        return await asyncio.to_thread(self._answers.get, timeout=PATIENCE)

    async def svids(self) -> dict[str, str]:
        """Waits for the next answer with identities: their serial numbers."""
        while True:
            answer = await self.answer()
            if "svids" in answer:
                return dict(answer["svids"])

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._answers.put(json.loads(line))


@contextmanager
def copy_of_python(place: Path, name: str) -> Iterator[str]:
    """Python under another path: another executable that can do the same."""
    path = place / name
    shutil.copy2(PYTHON, path)
    yield str(path)
    path.unlink(missing_ok=True)
