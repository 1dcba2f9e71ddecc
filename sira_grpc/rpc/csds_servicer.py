"""The client status discovery service (CSDS): what xDS resources the gRPC clients of this process have."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import grpc_csds

from sira_grpc.rpc.call import Context


class CsdsServicer(grpc_csds.ClientStatusDiscoveryServiceServicer):  # type: ignore[misc]  # grpc_csds has no types
    """grpcio-csds behind coroutines: its own methods block, and gRPC would run each in a thread."""

    async def FetchClientStatus(self, request: Any, context: Context) -> Any:
        """Answers with the resources."""
        return super().FetchClientStatus(request, context)

    async def StreamClientStatus(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        """Answers each request with the resources."""
        async for request in requests:
            yield super().FetchClientStatus(request, context)
