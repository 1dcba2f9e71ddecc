"""Streams by which endpoints tell of their load all the while.

Source: gRFC A51, https://github.com/grpc/proposal/blob/master/A51-custom-backend-metrics.md
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from contextlib import suppress

import grpc

from sira_client.balanced.subchannel import SubChannel
from sira_client.balancing.orca_report import LoadReport, decode

METHOD = "/xds.service.orca.v3.OpenRcaService/StreamCoreMetrics"
EVERY_10_SECONDS = bytes([0x0A, 0x02, 0x08, 10])
"""An OrcaLoadReportRequest: field 1, a Duration whose field 1, the seconds, is 10."""


class LoadStreams:
    """One stream on each connection, as long as it lasts. Endpoints that know no such method are asked once.

    Args:
        report: told of each report, with the name of the endpoint; must not block.
    """

    def __init__(self, report: Callable[[str, LoadReport], None]) -> None:
        self._report = report
        self._streams: dict[SubChannel, asyncio.Task[None]] = {}

    def sync(self, connected: Iterable[SubChannel]) -> None:
        """Listens on these connections and no others."""
        wanted = set(connected)
        for subchannel in [subchannel for subchannel in self._streams if subchannel not in wanted]:
            self._streams.pop(subchannel).cancel()
        for subchannel in wanted - self._streams.keys():
            self._streams[subchannel] = asyncio.get_running_loop().create_task(self._listen(subchannel))

    def close(self) -> None:
        """Listens no more."""
        self.sync(())

    async def _listen(self, subchannel: SubChannel) -> None:
        # The next connection is asked again.
        with suppress(grpc.aio.AioRpcError, grpc.aio.UsageError):
            method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = subchannel.channel.unary_stream(METHOD)
            async for serialized in method(EVERY_10_SECONDS):
                load = decode(serialized)
                if load is not None:
                    self._report(subchannel.name, load)
