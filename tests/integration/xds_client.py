"""A client of xDS that does what a test tells it to, and nothing on its own but to say who it is."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Literal

from envoy.config.core.v3.base_pb2 import Node
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)
from google.protobuf.json_format import ParseDict
from google.rpc.status_pb2 import Status
from grpc import aio

from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from tests.integration.xds_answers import Answer, read_changes, read_state

Mode = Literal["sotw", "delta"]
MODES: tuple[Mode, ...] = ("sotw", "delta")
PATIENCE = 20
"""Seconds after which a test has failed that waits for an answer."""
METHODS: Mapping[tuple[str | None, str], str] = {
    (None, "sotw"): "discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources",
    (None, "delta"): "discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources",
    **{
        (type_url, mode): f"{package}.v3.{noun}DiscoveryService/{verb}{noun}s"
        for type_url, package, noun in (
            (LISTENER, "listener", "Listener"),
            (ROUTES, "route", "Route"),
            (CLUSTER, "cluster", "Cluster"),
            (ENDPOINTS, "endpoint", "Endpoint"),
            (SECRET, "secret", "Secret"),
        )
        for mode, verb in (("sotw", "Stream"), ("delta", "Delta"), ("fetch", "Fetch"))
    },
}
"""By type, None for the aggregated service, and mode."""
_numbers = itertools.count(1)


def grpc_node(*, id_: str = "", namespace: str = "default", agent: str = "gRPC C-core linux Python") -> Any:
    """Who a client of gRPC says it is."""
    return Node(
        id=id_ or f"grpc-{next(_numbers)}",
        user_agent_name=agent,
        user_agent_version="1.85.1",
        metadata=ParseDict({"sira": {"namespace": namespace}}, Node().metadata),
    )


def envoy_node(*upstreams: str, egress_port: int = 15001, ports: Sequence[tuple[int, int]] = ()) -> Any:
    """Who an Envoy says it is: for these upstreams, all if none, with ports of its own and what is behind them."""
    sira = {
        "namespace": "default",
        "upstreams": list(upstreams),
        "egress_port": egress_port,
        "inbound": [{"port": port, "target_port": target} for port, target in ports],
    }
    return Node(
        id=f"envoy-{next(_numbers)}",
        user_agent_name="envoy",
        client_features=["xds.config.supports-resource-ttl", "xds.config.supports-resource-in-sotw"],
        metadata=ParseDict({"sira": sira}, Node().metadata),
    )


class Known:
    """What a client holds of one type.

    Attributes:
        names: what it is subscribed to.
        version, nonce: of the answer that it has acknowledged last.
        last: nonce of the answer that came last.
    """

    def __init__(self) -> None:
        self.names: set[str] = set()
        self.version = ""
        self.nonce = ""
        self.last = ""


class XdsClient:
    """One stream. Each method sends one request or reads one answer."""

    def __init__(self, stream: Any, mode: Mode, node: Any) -> None:
        self.stream = stream
        self.mode = mode
        self._node = node
        self._known: dict[str, Known] = {}

    def known(self, type_url: str) -> Known:
        return self._known.setdefault(type_url, Known())

    async def send(self, **fields: Any) -> None:
        """Sends a request as it is, with the node if it is the first."""
        if self._node is not None:
            fields.setdefault("node", self._node)
            self._node = None
        await self.stream.write((DiscoveryRequest if self.mode == "sotw" else DeltaDiscoveryRequest)(**fields))

    async def subscribe(self, type_url: str, *names: str, **fields: Any) -> None:
        """Asks for more of a type; for all of it, by the old rule, where it names nothing at first."""
        known = self.known(type_url)
        known.names.update(names)
        if self.mode == "sotw":
            await self._state(type_url, **fields)
        else:
            await self.send(type_url=type_url, resource_names_subscribe=names, **fields)

    async def unsubscribe(self, type_url: str, *names: str, **fields: Any) -> None:
        """Wants no more of some names."""
        known = self.known(type_url)
        known.names.difference_update(names)
        if self.mode == "sotw":
            await self._state(type_url, **fields)
        else:
            await self.send(type_url=type_url, resource_names_unsubscribe=names, **fields)

    async def ack(self, answer: Answer) -> None:
        """Says that it uses what it was sent."""
        known = self.known(answer.type_url)
        known.version, known.nonce = answer.version, answer.nonce
        await self._respond(answer)

    async def nack(self, answer: Answer, why: str = "it is no good") -> None:
        """Says that it does not use what it was sent."""
        await self._respond(answer, error_detail=Status(code=3, message=why))

    async def read(self) -> Answer:
        """Reads the next answer, whatever it is."""
        answer = await self.next()
        assert answer is not None, "the stream has ended"
        return answer

    async def next(self) -> Answer | None:
        """Reads the next answer; None if the stream has ended without an error."""
        async with asyncio.timeout(PATIENCE):
            response = await self.stream.read()
        if response is aio.EOF:
            return None
        answer = read_state(response) if self.mode == "sotw" else read_changes(response)
        self.known(answer.type_url).last = answer.nonce
        return answer

    async def told(self, type_url: str = "") -> Answer:
        """Reads the next answer, which must be of a type if one is given, and acknowledges it."""
        answer = await self.read()
        assert type_url in ("", answer.type_url), answer
        await self.ack(answer)
        return answer

    async def get(self, type_url: str, *names: str) -> Answer:
        """Subscribes to names and returns the acknowledged answer."""
        await self.subscribe(type_url, *names)
        return await self.told(type_url)

    async def quiet(self, type_url: str = ROUTES) -> str:
        """Makes sure that nothing is on its way: the next answer is that to a name that nobody has asked for before.

        The type must be one that is not sent as a whole. Routes come last: what is due of any other type comes before.
        """
        name = f"quiet-{next(_numbers)}.default"
        answer = await self.get(type_url, name)
        assert (set(answer.resources), answer.gone) == (set(), {name}), answer
        return name

    async def ended(self) -> aio.AioRpcError | None:
        """Reads until the stream ends; returns the error that it ends with."""
        async with asyncio.timeout(PATIENCE):
            try:
                while await self.stream.read() is not aio.EOF:
                    pass
            except aio.AioRpcError as error:
                return error
        return None

    async def _state(self, type_url: str, **fields: Any) -> None:
        """Says all that it is subscribed to, as it must with states of the world."""
        known = self.known(type_url)
        fields = {"version_info": known.version, "response_nonce": known.last, **fields}
        await self.send(type_url=type_url, resource_names=sorted(known.names), **fields)

    async def _respond(self, answer: Answer, **fields: Any) -> None:
        if self.mode == "sotw":
            await self._state(answer.type_url, response_nonce=answer.nonce, **fields)
        else:
            await self.send(type_url=answer.type_url, response_nonce=answer.nonce, **fields)


@asynccontextmanager
async def opened(
    channel: aio.Channel, mode: Mode, node: Any = None, *, type_url: str | None = None
) -> AsyncIterator[XdsClient]:
    """Opens a stream of all types or of one, for a client of gRPC unless another is given."""
    request, response = (
        (DiscoveryRequest, DiscoveryResponse) if mode == "sotw" else (DeltaDiscoveryRequest, DeltaDiscoveryResponse)
    )
    make: Any = channel.stream_stream(
        f"/envoy.service.{METHODS[type_url, mode]}",
        request_serializer=request.SerializeToString,
        response_deserializer=response.FromString,
    )
    stream = make()
    try:
        yield XdsClient(stream, mode, grpc_node() if node is None else node)
    finally:
        stream.cancel()


async def fetched(channel: aio.Channel, type_url: str, names: Iterable[str], /, **fields: Any) -> Answer:
    """Asks once, with the method of a type."""
    make: Any = channel.unary_unary(
        f"/envoy.service.{METHODS[type_url, 'fetch']}",
        request_serializer=DiscoveryRequest.SerializeToString,
        response_deserializer=DiscoveryResponse.FromString,
    )
    fields = {"node": grpc_node(), "type_url": type_url, **fields}
    return read_state(await make(DiscoveryRequest(resource_names=names, **fields), timeout=PATIENCE))
