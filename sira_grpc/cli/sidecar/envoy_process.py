"""One Envoy as a child process, which does not outlive this one."""

from __future__ import annotations

import asyncio
import json
import math
import signal
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from sira_grpc.cli.dev_cluster.member_process import describe
from sira_grpc.cli.dev_cluster.tether import tether
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import say
from sira_grpc.cli.sidecar.envoy_admin import GONE, EnvoyAdmin

LOOK_SECONDS = 0.05
"""How often to look whether it is ready."""
STOP_SECONDS = 5.0
"""How long it has to end after SIGTERM, before SIGKILL."""


@dataclass(frozen=True, slots=True)
class EnvoyOptions:
    """How it is run.

    Attributes:
        executable: where it is.
        log_level: from which it logs to stderr.
        concurrency: threads that serve.
        drain_seconds: for which a listener that is replaced, or drained, takes leave of its connections.
    """

    executable: Path
    log_level: str
    concurrency: int
    drain_seconds: float


class EnvoyProcess:
    """Runs it. An async context manager: at the end of the block it is stopped.

    Args:
        options: see EnvoyOptions.
        bootstrap: its configuration.
        folder: private, for its files.
    """

    def __init__(self, options: EnvoyOptions, bootstrap: dict[str, Any], folder: Path) -> None:
        self._options = options
        self._bootstrap = bootstrap
        self._folder = folder
        self._process: asyncio.subprocess.Process

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    async def __aenter__(self) -> Self:
        config = self._folder / "envoy.json"
        config.write_text(json.dumps(self._bootstrap, indent=1))
        options = self._options
        line = [str(options.executable), "--config-path", str(config), "--log-level", options.log_level]
        line += ["--concurrency", str(options.concurrency), "--disable-hot-restart"]
        line += ["--drain-time-s", str(max(1, math.ceil(options.drain_seconds))), "--drain-strategy", "immediate"]
        self._process = await asyncio.create_subprocess_exec(
            *tether(), *line, stdin=asyncio.subprocess.DEVNULL, stdout=sys.stderr
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in (signal.SIGTERM, signal.SIGKILL):
            with suppress(ProcessLookupError):
                self._process.send_signal(number)
            with suppress(TimeoutError):
                async with asyncio.timeout(STOP_SECONDS):
                    await self._process.wait()
                    return
            say(f"Envoy has not ended in {STOP_SECONDS:g} s: it is killed")

    async def ended(self) -> str:
        """Returns how it ended, once it has."""
        return describe(await self._process.wait())

    async def until_ready(self, admin: EnvoyAdmin, listeners: set[str], patience: float) -> None:
        """Returns once it serves these listeners.

        Raises:
            Failure: it ended, or does not within so many seconds; says why, as far as it can be told.
        """
        looking = asyncio.create_task(_ready(admin, listeners))
        ending = asyncio.create_task(self.ended())
        try:
            await asyncio.wait({looking, ending}, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if ending.done():
                raise Failure(f"Envoy ended before it was ready ({ending.result()}): see what it says above")
            if not looking.done():
                raise Failure(f"Envoy was not ready in {patience:g} s: {await _why(admin, listeners)}")
            looking.result()
        finally:
            looking.cancel()
            ending.cancel()
            await asyncio.gather(looking, ending, return_exceptions=True)


async def _ready(admin: EnvoyAdmin, listeners: set[str]) -> None:
    while True:
        with suppress(*GONE):
            if await admin.ready() and listeners <= await admin.listeners():
                return
        await asyncio.sleep(LOOK_SECONDS)


async def _why(admin: EnvoyAdmin, listeners: set[str]) -> str:
    try:
        if not await admin.connected():
            failed = await admin.failed_connections()
            counts = ", ".join(f"{name} {count}" for name, count in failed.items())
            return "no kernel answers it" + (f": {counts}" if counts else "")
        rejected = await admin.rejections()
        missing = sorted(listeners - await admin.listeners())
    except GONE as error:
        return f"its administration does not answer: {error}"
    known = [f"{name}: {rejected[name]}" for name in missing if name in rejected]
    return "; ".join(known) or f"the kernel has not given it {', '.join(missing) or 'all that it waits for'}"
