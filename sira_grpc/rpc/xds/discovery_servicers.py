"""The discovery services: ADS, and LDS, RDS, CDS, EDS and SDS for clients that ask for each type apart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from functools import partial
from typing import Any

import grpc
from envoy.service.cluster.v3 import cds_pb2
from envoy.service.discovery.v3 import ads_pb2, discovery_pb2
from envoy.service.endpoint.v3 import eds_pb2
from envoy.service.listener.v3 import lds_pb2
from envoy.service.route.v3 import rds_pb2
from envoy.service.secret.v3 import sds_pb2

from sira_grpc.errors import KernelStopping
from sira_grpc.rpc.call import Context, Handler, current_call
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.xds import type_urls
from sira_grpc.xds.stream import Stream
from sira_grpc.xds.streams import Streams

Registration = tuple[Callable[[Any, Any], None], Any]
"""See sira_grpc.rpc.server."""

_SERVICES = (
    (ads_pb2, "AggregatedDiscoveryService", None),
    (lds_pb2, "ListenerDiscoveryService", type_urls.LISTENER),
    (rds_pb2, "RouteDiscoveryService", type_urls.ROUTES),
    (cds_pb2, "ClusterDiscoveryService", type_urls.CLUSTER),
    (eds_pb2, "EndpointDiscoveryService", type_urls.ENDPOINTS),
    (sds_pb2, "SecretDiscoveryService", type_urls.SECRET),
)


def discovery_registrations(streams: Streams) -> list[Registration]:
    """Returns what adds the discovery services to a server."""
    return [
        (partial(_add, module.DESCRIPTOR.services_by_name[service]), DiscoveryServicer(streams, type_url))
        for module, service, type_url in _SERVICES
    ]


class DiscoveryServicer:
    """The three methods that a discovery service has, whatever they are called in it.

    Args:
        streams: the streams of this member.
        type_url: the one type that it is about; None where it is about all.
    """

    def __init__(self, streams: Streams, type_url: str | None) -> None:
        self._streams = streams
        self._type_url = type_url

    async def converse(self, requests: AsyncIterator[Any], context: Context, *, delta: bool) -> AsyncIterator[bytes]:
        """Sends states of the world, or what changes, until the client has closed its side.

        Raises:
            InvalidField: of what the client has sent.
            KernelStopping: the stream was closed on this side.
        """
        stream = self._streams.open(delta=delta, type_url=self._type_url, identity=_identity(), peer=context.peer())
        reading = asyncio.create_task(_read(stream, requests), name="requests of a stream of xDS")
        try:
            async with aclosing(stream.responses()) as responses:
                async for response in responses:
                    yield response
                    del response  # not kept while it waits for the next one, which may be for long
            if not reading.done():
                raise KernelStopping("the kernel has closed the stream: try another member, or again in a moment")
            reading.result()
        finally:
            stream.close()
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)  # its error, if it counts, was raised above

    async def fetch(self, request: Any, context: Context) -> bytes:
        """Answers once with the state of the world. Only services of one type have it."""
        assert self._type_url is not None
        return self._streams.fetch(request, type_url=self._type_url, identity=_identity())


async def _read(stream: Stream, requests: AsyncIterator[Any]) -> None:
    """Hands a stream what its client sends; closes it when there is no more."""
    try:
        async for request in requests:
            stream.receive(request)
            del request  # not kept while it waits for the next one, which may be for long
    finally:
        stream.close()


def _identity() -> SpiffeId | None:
    credential = current_call().credential
    return credential.identity if credential is not None else None


def _add(service: Any, servicer: DiscoveryServicer, server: Any) -> None:
    """Adds the methods of a service, which its descriptor names, to a server: as a generated function would."""
    handlers = {method.name: _handler(method, servicer) for method in service.methods}
    server.add_registered_method_handlers(service.full_name, handlers)


def _handler(method: Any, servicer: DiscoveryServicer) -> Handler:
    if not method.server_streaming:
        return grpc.unary_unary_rpc_method_handler(
            servicer.fetch, discovery_pb2.DiscoveryRequest.FromString, discovery_pb2.DiscoveryResponse.SerializeToString
        )
    delta = method.input_type.name == "DeltaDiscoveryRequest"
    request, response = (
        (discovery_pb2.DeltaDiscoveryRequest, discovery_pb2.DeltaDiscoveryResponse)
        if delta
        else (discovery_pb2.DiscoveryRequest, discovery_pb2.DiscoveryResponse)
    )
    return grpc.stream_stream_rpc_method_handler(
        partial(servicer.converse, delta=delta), request.FromString, response.SerializeToString
    )
