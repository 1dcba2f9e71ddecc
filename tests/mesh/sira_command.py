"""The `sira` command beside the kernel of the matrix: run to its end, or for as long as a block goes on."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.mesh.world import World

READY_SECONDS = 60
STOP_SECONDS = 30


async def sira(world: World, *arguments: str) -> str:
    """Runs a command as the operator. Returns its stdout.

    Raises:
        AssertionError: it failed.
    """
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sira_grpc", *arguments),
        env=_environment(world, operator=True),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate()
    assert process.returncode == 0, f"sira {' '.join(arguments)}: {err.decode()}"
    return out.decode()


@asynccontextmanager
async def sira_process(
    world: World, name: str, *arguments: str, operator: bool = False
) -> AsyncIterator[dict[str, Any]]:
    """Runs a command for the length of the block. Yields the line in which it says that it is ready.

    Args:
        world: where.
        name: of the file that it logs to.
        arguments: of the command.
        operator: whether it runs as the operator.
    """
    path = world.folder / f"{name}.log"
    with path.open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "sira_grpc", "-o", "json", *arguments),
            env=_environment(world, operator=operator),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    assert process.stdout is not None
    try:
        try:
            async with asyncio.timeout(READY_SECONDS):
                ready = await process.stdout.readline()
        except TimeoutError:
            ready = b""
        assert ready, f"sira {arguments[0]} does not get ready: {await asyncio.to_thread(_tail, path)}"
        yield json.loads(ready)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _tail(path: Path) -> str:
    return path.read_text(errors="replace")[-4000:]


def _environment(world: World, *, operator: bool) -> Mapping[str, str]:
    own = {"SIRA_ADDR": world.address, "SIRA_CONFIG": str(world.folder / "none.yaml")}
    if operator:
        own["SIRA_CLIENT_IDENTITY_DIR"] = str(world.folder / "identity" / "operator")
    return {**os.environ, **own}
