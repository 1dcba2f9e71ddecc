"""RegistryService: the write side of the registry."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

from sira.registry.v1 import registry_service_pb2 as pb
from sira.registry.v1 import registry_service_pb2_grpc as stubs

from sira_grpc.registry.registry import Registry
from sira_grpc.rpc.call import Context, actor
from sira_grpc.rpc.streams import until
from sira_grpc.times import seconds

DEFAULT_DRAIN_SECONDS = 30.0


class RegistryServicer(stubs.RegistryServiceServicer):
    """Each method is one command of the registry. See the proto."""

    def __init__(self, registry: Registry, *, default_lease_ttl: float) -> None:
        self._registry = registry
        self._default_ttl = default_lease_ttl

    async def CreateNamespace(self, request: pb.CreateNamespaceRequest, context: Context) -> pb.CreateNamespaceResponse:
        """See the proto."""
        entry = await self._registry.catalog.create_namespace(request.namespace, actor=actor())
        return pb.CreateNamespaceResponse(namespace=entry.message)

    async def UpdateNamespace(self, request: pb.UpdateNamespaceRequest, context: Context) -> pb.UpdateNamespaceResponse:
        """See the proto."""
        catalog = self._registry.catalog
        entry = await catalog.update_namespace(request.namespace, request.update_mask, actor=actor())
        return pb.UpdateNamespaceResponse(namespace=entry.message)

    async def DeleteNamespace(self, request: pb.DeleteNamespaceRequest, context: Context) -> pb.DeleteNamespaceResponse:
        """See the proto."""
        revision = await self._registry.catalog.delete_namespace(
            request.name, etag=request.etag, force=request.force, actor=actor()
        )
        return pb.DeleteNamespaceResponse(revision=revision)

    async def CreateService(self, request: pb.CreateServiceRequest, context: Context) -> pb.CreateServiceResponse:
        """See the proto."""
        entry = await self._registry.catalog.create_service(request.service, actor=actor())
        return pb.CreateServiceResponse(service=self._registry.listing.describe(entry))

    async def UpdateService(self, request: pb.UpdateServiceRequest, context: Context) -> pb.UpdateServiceResponse:
        """See the proto."""
        entry = await self._registry.catalog.update_service(request.service, request.update_mask, actor=actor())
        return pb.UpdateServiceResponse(service=self._registry.listing.describe(entry))

    async def DeleteService(self, request: pb.DeleteServiceRequest, context: Context) -> pb.DeleteServiceResponse:
        """See the proto."""
        revision = await self._registry.catalog.delete_service(
            request.name, etag=request.etag, force=request.force, actor=actor()
        )
        return pb.DeleteServiceResponse(revision=revision)

    async def RegisterEndpoints(
        self, request: pb.RegisterEndpointsRequest, context: Context
    ) -> pb.RegisterEndpointsResponse:
        """See the proto."""
        registrar = self._registry.registrar
        allow = request.allow_missing_service
        if request.lease_key:
            done = await registrar.register(
                request.endpoints, lease_key=request.lease_key, allow_missing_service=allow, actor=actor()
            )
        else:
            ttl = seconds(request.lease_ttl) if request.HasField("lease_ttl") else self._default_ttl
            done = await registrar.register_under_new_lease(
                request.endpoints, ttl=ttl, allow_missing_service=allow, actor=actor()
            )
        lease = self._registry.keeper.describe(self._registry.view.lease(done.lease))
        return pb.RegisterEndpointsResponse(lease=lease, lease_key=done.lease_key, revision=done.revision)

    async def HoldLease(
        self, request_iterator: AsyncIterator[pb.HoldLeaseRequest], context: Context
    ) -> AsyncIterator[pb.HoldLeaseResponse]:
        """See the proto."""
        session = self._registry.session(actor=actor())
        released = False
        try:
            async for request in until(lambda: session.ended, request_iterator):
                yield await session.handle(request)
            if session.ended is not None and session.ended.done():
                raise session.end()
            if session.ended is not None:
                # A read ends in the same way whether the client has closed its side or is gone; a write tells them
                # apart. So the close gets an answer, and only then is the lease released.
                yield session.farewell()
            released = True
            await session.release()
        finally:
            if not released:
                session.lost()

    async def RenewLeases(self, request: pb.RenewLeasesRequest, context: Context) -> pb.RenewLeasesResponse:
        """See the proto."""
        return pb.RenewLeasesResponse(lost=await self._registry.keeper.renew(request.lease_keys))

    async def RevokeLease(self, request: pb.RevokeLeaseRequest, context: Context) -> pb.RevokeLeaseResponse:
        """See the proto."""
        revision = await self._registry.keeper.revoke(request.lease_key, "its lease was revoked", actor=actor())
        return pb.RevokeLeaseResponse(revision=revision)

    async def UpdateEndpoint(self, request: pb.UpdateEndpointRequest, context: Context) -> pb.UpdateEndpointResponse:
        """See the proto."""
        entry = await self._registry.registrar.update(request.endpoint, request.update_mask, actor=actor())
        return pb.UpdateEndpointResponse(endpoint=entry.message)

    async def DeregisterEndpoints(
        self, request: pb.DeregisterEndpointsRequest, context: Context
    ) -> pb.DeregisterEndpointsResponse:
        """See the proto."""
        revision = await self._registry.registrar.deregister(request.names, lease_key=request.lease_key, actor=actor())
        return pb.DeregisterEndpointsResponse(revision=revision)

    async def DeleteEndpoint(self, request: pb.DeleteEndpointRequest, context: Context) -> pb.DeleteEndpointResponse:
        """See the proto."""
        revision = await self._registry.registrar.delete(request.name, etag=request.etag, actor=actor())
        return pb.DeleteEndpointResponse(revision=revision)

    async def ReportHealth(self, request: pb.ReportHealthRequest, context: Context) -> pb.ReportHealthResponse:
        """See the proto."""
        reports = self._registry.health_reports
        await self._registry.commits.sure(lambda: reports.report(request.lease_key, request.reports))
        return pb.ReportHealthResponse()

    async def ReportLoad(
        self, request_iterator: AsyncIterator[pb.ReportLoadRequest], context: Context
    ) -> pb.ReportLoadResponse:
        """See the proto."""
        reporter = None
        sure = self._registry.commits.sure
        async for request in request_iterator:
            if reporter is None:
                reporter = await sure(partial(self._registry.load_reporter, request.lease_key))
            await sure(partial(reporter.report, request.loads))
        return pb.ReportLoadResponse(accepted=reporter.accepted if reporter else 0)

    async def Drain(self, request: pb.DrainRequest, context: Context) -> pb.DrainResponse:
        """See the proto."""
        return await self._registry.drainer.drain(
            request.names,
            locality=request.locality if request.HasField("locality") else None,
            patience=seconds(request.timeout) if request.HasField("timeout") else DEFAULT_DRAIN_SECONDS,
            cause=request.cause,
            actor=actor(),
        )

    async def CancelDrain(self, request: pb.CancelDrainRequest, context: Context) -> pb.CancelDrainResponse:
        """See the proto."""
        return pb.CancelDrainResponse(revision=await self._registry.drainer.cancel(request.names, actor=actor()))
