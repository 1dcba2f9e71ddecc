"""Reports the load of one endpoint on a stream, the latest figures only."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import grpc
from sira.registry.v1.load_pb2 import EndpointLoad
from sira.registry.v1.registry_service_pb2 import ReportLoadRequest, ReportLoadResponse

from sira_client.errors import from_rpc_error
from sira_client.link import Link, Member
from sira_client.settings import Settings

_log = logging.getLogger(__name__)

REFRESH_SECONDS = 3.0
"""How often figures that stay the same are sent again: the kernel counts a report for 10 s."""
DRAIN_REFRESH_SECONDS = 0.1
"""The same while the endpoint drains: the kernel waits to hear that nothing is in flight any more."""
SPACING_SECONDS = 0.05
"""How long figures gather before they are sent: a report for every request would be too many."""


class LoadReporter:
    """Sends the latest figures for as long as `run` runs. Figures that are overtaken before they are sent are dropped.

    Args:
        link: to the kernel.
        settings: of the client.
        lease_key: tells the key of the lease; empty while there is none.
    """

    def __init__(self, link: Link, settings: Settings, lease_key: Callable[[], str]) -> None:
        self._link = link
        self._settings = settings
        self._lease_key = lease_key
        self._load: EndpointLoad | None = None
        self._news = asyncio.Event()
        self._refresh = REFRESH_SECONDS

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """Within the block, sends figures that stay the same every tenth of a second, beginning at once."""
        self._refresh = DRAIN_REFRESH_SECONDS
        if self._load is not None:
            self._news.set()
        try:
            yield
        finally:
            self._refresh = REFRESH_SECONDS

    def report(self, load: EndpointLoad) -> None:
        """Has new figures sent soon. Never blocks."""
        self._load = load
        self._news.set()

    async def run(self) -> None:
        """Sends until it is cancelled, opening the stream again whenever it is lost."""
        await self._news.wait()
        backoff = self._settings.backoff()
        while True:
            key = self._lease_key()
            if key:
                member = self._link.member
                call = member.carrying(member.registry.ReportLoad())
                try:
                    await call.write(ReportLoadRequest(lease_key=key))
                    await self._send(call, key, member)
                except grpc.aio.AioRpcError as failure:
                    _log.debug("the stream of load reports was lost: %s", from_rpc_error(failure))
                except asyncio.InvalidStateError:
                    _log.debug("the stream of load reports was over before it began")
                finally:
                    call.cancel()
            await self._settings.clock.sleep(backoff.next())

    async def _send(
        self, call: grpc.aio.StreamUnaryCall[ReportLoadRequest, ReportLoadResponse], key: str, member: Member
    ) -> None:
        """Sends figures as they come, and again where they stay the same, while lease and connection are these."""
        call.add_done_callback(lambda _: self._news.set())  # a stream that is lost is found out by writing to it
        while self._lease_key() == key and not member.replaced.done():
            self._news.clear()
            await call.write(ReportLoadRequest(loads=[self._load] if self._load else []))
            await self._settings.clock.sleep(SPACING_SECONDS)
            with suppress(TimeoutError):
                async with asyncio.timeout(self._refresh):
                    await self._news.wait()
