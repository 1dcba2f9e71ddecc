"""ElectionService: who of several candidates leads."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from sira.cluster.v1 import election_service_pb2 as pb
from sira.cluster.v1 import election_service_pb2_grpc as stubs

from sira_grpc.cluster.elections import Elections
from sira_grpc.rpc.call import Context, actor


class ElectionServicer(stubs.ElectionServiceServicer):
    """Campaign is a stream that stands and leads, Observe one that tells who does. See the proto."""

    def __init__(self, elections: Elections) -> None:
        self._elections = elections

    async def Campaign(
        self, request_iterator: AsyncIterator[pb.CampaignRequest], context: Context
    ) -> AsyncIterator[pb.CampaignResponse]:
        """See the proto."""
        async with aclosing(self._elections.campaign(request_iterator, actor())) as responses:
            async for response in responses:
                yield response

    async def Observe(self, request: pb.ObserveRequest, context: Context) -> AsyncIterator[pb.ObserveResponse]:
        """See the proto."""
        async with aclosing(self._elections.observe(request.name)) as elections:
            async for election in elections:
                yield pb.ObserveResponse(election=election)

    async def GetElection(self, request: pb.GetElectionRequest, context: Context) -> pb.GetElectionResponse:
        """See the proto."""
        return pb.GetElectionResponse(election=self._elections.get(request.name))

    async def Resign(self, request: pb.ResignRequest, context: Context) -> pb.ResignResponse:
        """See the proto."""
        await self._elections.resign(request.campaign_key)
        return pb.ResignResponse()
