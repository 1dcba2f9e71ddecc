"""The administration of an Envoy on this host: whether it is ready, what is wrong with it, and how it is to end."""

from __future__ import annotations

import json
from types import TracebackType
from typing import Any, Self

import aiohttp

_TIMEOUT = aiohttp.ClientTimeout(total=5)
_MAX_BYTES = 16 << 20
_IN_FLIGHT = r"^cluster\.inbound_\d+\.upstream_rq_active$"
_FAILURES = r"^cluster\.kernel\.(upstream_cx_connect_fail|ssl\.connection_error|ssl\.fail_verify_\w+)$"
GONE = (aiohttp.ClientError, OSError, TimeoutError, ValueError)
"""What the methods raise when Envoy does not answer, or not yet, or not as it should."""


class EnvoyAdmin:
    """Talks to it. An async context manager.

    Args:
        address: `unix:path`, or `host:port`.
    """

    def __init__(self, address: str) -> None:
        self._socket = address.removeprefix("unix:") if address.startswith("unix:") else ""
        self._base = "http://envoy" if self._socket else f"http://{address}"

    async def __aenter__(self) -> Self:
        connector = aiohttp.UnixConnector(self._socket) if self._socket else aiohttp.TCPConnector()
        self._session = aiohttp.ClientSession(connector=connector, timeout=_TIMEOUT)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._session.close()

    async def ready(self) -> bool:
        """Whether it serves what it was told.

        Raises: see GONE; so do all methods.
        """
        async with self._session.get(f"{self._base}/ready") as response:
            return response.status == 200

    async def listeners(self) -> set[str]:
        """The names of the listeners that serve."""
        answer = await self._json("/listeners", format="json")
        return {str(each["name"]) for each in answer.get("listener_statuses", [])}

    async def in_flight(self) -> int:
        """Calls to the service of this Envoy that have not ended."""
        return sum((await self._stats(_IN_FLIGHT)).values())

    async def connected(self) -> bool:
        """Whether a kernel answers it."""
        return bool((await self._stats(r"^control_plane\.connected_state$")).get("control_plane.connected_state"))

    async def failed_connections(self) -> dict[str, int]:
        """How often each kind of failure has met its connections to the kernel; without those that have not."""
        found = await self._stats(_FAILURES)
        return {name.removeprefix("cluster.kernel."): value for name, value in found.items() if value}

    async def rejections(self) -> dict[str, str]:
        """Why it does not take what it was told last of listeners, by their names."""
        answer = await self._json("/config_dump", resource="dynamic_listeners")
        failed = [each["error_state"] for each in answer.get("configs", []) if "error_state" in each]
        return {
            str(state.get("failed_configuration", {}).get("name", "")): str(state.get("details", ""))
            for state in failed
        }

    async def drain_inbound(self) -> None:
        """Has it tell who calls the service to go elsewhere, at the end of each call; it goes on to serve."""
        async with self._session.post(f"{self._base}/drain_listeners?graceful&inboundonly&skip_exit") as response:
            response.raise_for_status()

    async def _stats(self, pattern: str) -> dict[str, int]:
        answer = await self._json("/stats", format="json", filter=pattern)
        return {str(stat["name"]): int(stat["value"]) for stat in answer["stats"] if "value" in stat}

    async def _json(self, path: str, **query: str) -> Any:
        async with self._session.get(f"{self._base}{path}", params=query) as response:
            response.raise_for_status()
            return json.loads(await response.content.read(_MAX_BYTES))
