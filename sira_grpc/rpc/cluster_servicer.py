"""ClusterService: who the members are, and how they and the store are."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from sira.cluster.v1 import cluster_service_pb2 as pb
from sira.cluster.v1 import cluster_service_pb2_grpc as stubs

from sira_grpc.cluster.status import ClusterStatus
from sira_grpc.rpc.call import Context


class ClusterServicer(stubs.ClusterServiceServicer):
    """Each method is one read of the cluster. See the proto."""

    def __init__(self, status: ClusterStatus) -> None:
        self._status = status

    async def GetCluster(self, request: pb.GetClusterRequest, context: Context) -> pb.GetClusterResponse:
        """See the proto."""
        return pb.GetClusterResponse(cluster=await self._status.read())

    async def WatchCluster(
        self, request: pb.WatchClusterRequest, context: Context
    ) -> AsyncIterator[pb.WatchClusterResponse]:
        """See the proto."""
        async with aclosing(self._status.follow()) as clusters:
            async for cluster in clusters:
                yield pb.WatchClusterResponse(cluster=cluster)
