"""ResolverService: the read side of the registry."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from sira.registry.v1 import resolver_service_pb2 as pb
from sira.registry.v1 import resolver_service_pb2_grpc as stubs

from sira_grpc.registry.registry import Registry
from sira_grpc.rpc.call import Context


class ResolverServicer(stubs.ResolverServiceServicer):
    """Each method is one read of the registry. See the proto."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._listing = registry.listing

    async def Resolve(self, request: pb.ResolveRequest, context: Context) -> pb.ResolveResponse:
        """See the proto."""
        return self._registry.resolver.resolve(request)

    async def Watch(  # type: ignore[override]  # bytes pass through the serializer of this method
        self, request: pb.WatchRequest, context: Context
    ) -> AsyncIterator[bytes]:
        """See the proto. The responses are serialized already, once for all who watch."""
        async with aclosing(self._registry.watching.follow(request)) as messages:
            async for message in messages:
                yield message

    async def GetNamespace(self, request: pb.GetNamespaceRequest, context: Context) -> pb.GetNamespaceResponse:
        """See the proto."""
        return pb.GetNamespaceResponse(namespace=self._listing.namespace(request.name, request.read_mask))

    async def ListNamespaces(self, request: pb.ListNamespacesRequest, context: Context) -> pb.ListNamespacesResponse:
        """See the proto."""
        page, token = await self._listing.namespaces(
            size=request.page_size, token=request.page_token, filter_text=request.filter, mask=request.read_mask
        )
        return pb.ListNamespacesResponse(namespaces=page, next_page_token=token)

    async def GetService(self, request: pb.GetServiceRequest, context: Context) -> pb.GetServiceResponse:
        """See the proto."""
        return pb.GetServiceResponse(service=self._listing.service(request.name, request.read_mask))

    async def ListServices(self, request: pb.ListServicesRequest, context: Context) -> pb.ListServicesResponse:
        """See the proto."""
        page, token = await self._listing.services(
            request.parent,
            size=request.page_size,
            token=request.page_token,
            filter_text=request.filter,
            mask=request.read_mask,
        )
        return pb.ListServicesResponse(services=page, next_page_token=token)

    async def GetEndpoint(self, request: pb.GetEndpointRequest, context: Context) -> pb.GetEndpointResponse:
        """See the proto."""
        return pb.GetEndpointResponse(endpoint=self._listing.endpoint(request.name, request.read_mask))

    async def ListEndpoints(self, request: pb.ListEndpointsRequest, context: Context) -> pb.ListEndpointsResponse:
        """See the proto."""
        page, token = await self._listing.endpoints(
            request.parent,
            size=request.page_size,
            token=request.page_token,
            filter_text=request.filter,
            mask=request.read_mask,
        )
        return pb.ListEndpointsResponse(endpoints=page, next_page_token=token)

    async def GetLease(self, request: pb.GetLeaseRequest, context: Context) -> pb.GetLeaseResponse:
        """See the proto."""
        return pb.GetLeaseResponse(lease=self._listing.lease(request.name, request.read_mask))

    async def ListLeases(self, request: pb.ListLeasesRequest, context: Context) -> pb.ListLeasesResponse:
        """See the proto."""
        page, token = await self._listing.leases(
            size=request.page_size, token=request.page_token, filter_text=request.filter, mask=request.read_mask
        )
        return pb.ListLeasesResponse(leases=page, next_page_token=token)

    async def ListEvents(self, request: pb.ListEventsRequest, context: Context) -> pb.ListEventsResponse:
        """See the proto."""
        page, token = await self._listing.events(request.resource, size=request.page_size, token=request.page_token)
        return pb.ListEventsResponse(events=page, next_page_token=token)
