"""ClientService: which clients take their configuration over xDS from this member, and what they were sent."""

from __future__ import annotations

from sira.xds.v1 import client_service_pb2 as pb
from sira.xds.v1 import client_service_pb2_grpc as stubs

from sira_grpc.rpc.call import Context
from sira_grpc.xds.explain import Explainer


class ClientServicer(stubs.ClientServiceServicer):
    """Each method is one read of the streams. See the proto."""

    def __init__(self, explainer: Explainer) -> None:
        self._explainer = explainer

    async def ListClients(self, request: pb.ListClientsRequest, context: Context) -> pb.ListClientsResponse:
        """See the proto."""
        page, token = await self._explainer.list_clients(
            request.client, size=request.page_size, token=request.page_token
        )
        return pb.ListClientsResponse(clients=page, next_page_token=token)

    async def ExplainClient(self, request: pb.ExplainClientRequest, context: Context) -> pb.ExplainClientResponse:
        """See the proto."""
        return pb.ExplainClientResponse(clients=await self._explainer.explain(request.client, request.service))
