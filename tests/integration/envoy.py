"""Envoys for tests: the executable, or a mark that skips what needs one, and runs of it with a given bootstrap."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from sira_grpc.cli.sidecar.envoy_admin import EnvoyAdmin
from sira_grpc.cli.sidecar.envoy_process import EnvoyOptions, EnvoyProcess
from sira_grpc.svid import identity_directory, x509_svid

PATIENCE = 30
"""Seconds after which a test gives up."""
_ENVIRONMENT = Path(__file__).parents[2] / ".venv-envoy"


def _find() -> Path | None:
    given = os.environ.get("SIRA_TEST_ENVOY")
    if given:
        return Path(given)
    installed = sorted(_ENVIRONMENT.glob("lib/python3*/site-packages/envoy/_bin/envoy"))
    if installed:
        return installed[-1]
    found = shutil.which("envoy")
    return Path(found) if found else None


ENVOY = _find()
"""The executable: that of SIRA_TEST_ENVOY, of .venv-envoy, or on the PATH; None if there is none."""

needs_envoy = pytest.mark.skipif(ENVOY is None, reason="there is no Envoy for this platform: see .venv-envoy")
"""Skips a test where there is no Envoy."""


@dataclass(frozen=True)
class RunningEnvoy:
    """An Envoy that serves, and its administration."""

    admin: EnvoyAdmin

    async def port(self, listener: str) -> int:
        """The port that a listener has."""
        answer = await self.admin._json("/listeners", format="json")
        (found,) = (each for each in answer["listener_statuses"] if each["name"] == listener)
        return int(found["local_address"]["socket_address"]["port_value"])


@asynccontextmanager
async def running(bootstrap: dict[str, Any], folder: Path, *listeners: str) -> AsyncIterator[RunningEnvoy]:
    """Runs an Envoy until the end of the block, and yields it once these listeners serve.

    Args:
        bootstrap: its configuration, without the administration.
        folder: for its files; a short path, as Unix sockets want it.
        listeners: names.
    """
    assert ENVOY is not None, "a test of an Envoy has the mark needs_envoy"
    place = folder / "admin.sock"
    configured = {"admin": {"address": {"pipe": {"path": str(place), "mode": 0o600}}}, **bootstrap}
    options = EnvoyOptions(ENVOY, "warning", 1, 1.0)
    async with EnvoyAdmin(f"unix:{place}") as admin, EnvoyProcess(options, configured, folder) as process:
        await process.until_ready(admin, set(listeners), PATIENCE)
        yield RunningEnvoy(admin)


async def shown(port: int, directory: Path) -> str | None:
    """Connects over TLS with the identity in a directory.

    Returns:
        The serial number of what the other end shows; None if one end refuses the other.
    """
    with suppress(OSError):  # of which an SSLError is one: files that are being exchanged do not fit each other
        context = ssl.create_default_context(cafile=directory / identity_directory.BUNDLE)
        context.check_hostname = False
        context.load_cert_chain(directory / identity_directory.SVID, directory / identity_directory.KEY)
        reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=context)
        try:
            # In TLS 1.3 the client is done before the server has looked at what it shows.
            writer.write(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
            if not (await reader.read()).startswith(b"HTTP/1.1 200"):
                return None
            der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
            return x509_svid.serial_of(x509_svid.read_der(der))
        finally:
            writer.close()
    return None
