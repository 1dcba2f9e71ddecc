"""The load reporting service (LRS): clients tell how many calls they have under way, and where."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

from envoy.service.load_stats.v3 import lrs_pb2, lrs_pb2_grpc

from sira_grpc.errors import FieldViolation, InvalidField
from sira_grpc.rpc.call import Context, current_call
from sira_grpc.times import duration
from sira_grpc.xds.load_reports import LoadReports
from sira_grpc.xds.node import Node, read_node

_SELDOM = 3600.0
"""What a client is told where no reports are wanted: it must be told some interval."""


class LoadServicer(lrs_pb2_grpc.LoadReportingServiceServicer):  # type: ignore[misc]  # xds-protos has no types
    """Takes the reports of one client on each stream."""

    def __init__(self, reports: LoadReports) -> None:
        self._reports = reports

    async def StreamLoadStats(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        """Says once how often to report, and takes reports until the client has closed its side.

        Raises:
            InvalidField: the first request has no node.
        """
        wanted = self._reports.interval > 0
        client, node = self._reports.open(), None
        try:
            async for request in requests:
                if node is None:
                    node = _node(request)
                    yield self._terms()
                if wanted:
                    self._reports.take(client, node, request.cluster_stats)
        finally:
            self._reports.close(client)

    def _terms(self) -> Any:
        wanted = self._reports.interval > 0
        return lrs_pb2.LoadStatsResponse(
            send_all_clusters=wanted,
            load_reporting_interval=duration(self._reports.interval or _SELDOM),
            report_endpoint_granularity=wanted,
        )


def _node(request: Any) -> Node:
    if not request.HasField("node"):
        raise InvalidField([FieldViolation("node", "is needed in the first request of a stream")])
    credential = current_call().credential
    return read_node(request.node, credential.identity if credential is not None else None)
