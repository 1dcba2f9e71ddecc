"""Members with the whole edge in one process: real servers, a placement that a test sets, a method of each shape."""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any, cast

import grpc
from grpc import aio
from sira.bus.v1.publish_service_pb2 import (
    PublishedRecord,
    PublishFramesRequest,
    PublishFramesResponse,
    PublishRequest,
    PublishResponse,
)
from sira.bus.v1.topic_service_pb2 import VerifyTopicRequest, VerifyTopicResponse
from sira.registry.v1.registry_service_pb2 import ReportLoadRequest, ReportLoadResponse

from sira_grpc.clock import Clock, SystemClock
from sira_grpc.config import KernelConfig, LimitsConfig, ServerConfig, TelemetryConfig
from sira_grpc.identity.identity import Identity
from sira_grpc.rpc.call import Context
from sira_grpc.rpc.edge import Edge
from sira_grpc.rpc.forwarding import Forwarding, MemberTrust, PeerIdentity
from sira_grpc.rpc.forwarding.routes import ROUTES
from sira_grpc.rpc.server import Registration, RpcServer, ServerIdentity
from sira_grpc.telemetry import open_telemetry

SECRET = b"s" * 32
TOPIC = "namespaces/default/topics/orders"
UNIT = "bus/default"
_PLAIN = ServerConfig(addresses=("127.0.0.1:0",), drain_grace=0.2)
PUBLISH, FRAMES = "sira.bus.v1.PublishService/Publish", "sira.bus.v1.PublishService/PublishFrames"
VERIFY, REPORT = "sira.bus.v1.TopicService/VerifyTopic", "sira.registry.v1.RegistryService/ReportLoad"


class SetPlacement:
    """A placement that does what a test says."""

    def __init__(self, member: str, live: frozenset[str]) -> None:
        self.member = member
        self.live = live
        self.changed: list[Callable[[], None]] = []
        self.owners: Callable[[], str] = lambda: member
        self.asked = asyncio.Event()

    def is_live(self, member: str) -> bool:
        return member in self.live

    def owner(self, unit: str) -> str:
        assert unit == UNIT
        self.asked.set()
        return self.owners()

    def owns(self, unit: str) -> bool:
        return self.owner(unit) == self.member

    def set_live(self, *members: str) -> None:
        self.live = frozenset(members)
        for hook in tuple(self.changed):
            hook()


class Addresses(dict[str, Sequence[str]]):
    """Where members are."""

    def of(self, member: str) -> Sequence[str]:
        return self.get(member, ())


class Shapes:
    """The servicer of a member. By default every method answers; a test replaces what it needs."""

    def __init__(self, member: str) -> None:
        self.member = member
        self.number = int(member[1:])
        self.calls: list[str] = []
        self.ended: asyncio.Queue[str] = asyncio.Queue()

    async def publish(self, request: PublishRequest, context: Context) -> Any:
        """One request, one response: which member answers, and the size of what it got."""
        self.calls.append("publish")
        return PublishResponse(records=[PublishedRecord(partition=self.number, offset=request.ByteSize())])

    async def verify(self, request: VerifyTopicRequest, context: Context) -> AsyncIterator[Any]:
        """One request, three responses."""
        self.calls.append("verify")
        for records in range(3):
            yield VerifyTopicResponse(partition=self.number, records=records)

    async def report(self, requests: AsyncIterator[ReportLoadRequest], context: Context) -> Any:
        """A stream of requests, one response: how many there were."""
        self.calls.append("report")
        return ReportLoadResponse(accepted=len([request async for request in requests]))

    async def frames(self, requests: AsyncIterator[PublishFramesRequest], context: Context) -> AsyncIterator[Any]:
        """Both stream: answers each with its size."""
        self.calls.append("frames")
        async for request in requests:
            yield PublishFramesResponse(partition=self.number, offset=len(request.frame), count=1)


def add_shapes(shapes: Shapes, edge: Edge) -> None:
    """In the place of generated functions: a method is looked up in the servicer when it is called."""

    async def publish(request: Any, context: Context) -> Any:
        return await shapes.publish(request, context)

    async def report(requests: Any, context: Context) -> Any:
        return await shapes.report(requests, context)

    async def verify(request: Any, context: Context) -> AsyncIterator[Any]:
        async for response in shapes.verify(request, context):
            yield response

    async def frames(requests: Any, context: Context) -> AsyncIterator[Any]:
        async for response in shapes.frames(requests, context):
            yield response

    made = {
        PUBLISH: grpc.unary_unary_rpc_method_handler(
            publish, PublishRequest.FromString, PublishResponse.SerializeToString
        ),
        FRAMES: grpc.stream_stream_rpc_method_handler(
            cast(Any, frames), PublishFramesRequest.FromString, PublishFramesResponse.SerializeToString
        ),
        VERIFY: grpc.unary_stream_rpc_method_handler(
            cast(Any, verify), VerifyTopicRequest.FromString, VerifyTopicResponse.SerializeToString
        ),
        REPORT: grpc.stream_unary_rpc_method_handler(
            cast(Any, report), ReportLoadRequest.FromString, ReportLoadResponse.SerializeToString
        ),
    }
    for service in dict.fromkeys(name.partition("/")[0] for name in made):
        methods = {name.partition("/")[2]: made[name] for name in made if name.startswith(f"{service}/")}
        edge.add_registered_method_handlers(service, cast(Any, methods))


class Member:
    """A server that runs, its servicer and placement, and a channel to it."""

    def __init__(
        self,
        placement: SetPlacement,
        server: RpcServer,
        forwarding: Forwarding,
        shapes: Shapes,
        credentials: grpc.ChannelCredentials | None,
    ) -> None:
        self.placement = placement
        self.server = server
        self.forwarding = forwarding
        self.shapes = shapes
        options = [("grpc.max_receive_message_length", -1), ("grpc.use_local_subchannel_pool", 1)]
        address = server.addresses[0]
        self.channel = (
            aio.insecure_channel(address, options=options)
            if credentials is None
            else aio.secure_channel(address, credentials, options=options)
        )

    def call(self, method: str) -> Any:
        """What makes calls of a method, with messages."""
        raw = cast(Any, self.channel)
        shapes: dict[str, tuple[Any, Any, Any]] = {
            PUBLISH: (raw.unary_unary, PublishRequest, PublishResponse),
            VERIFY: (raw.unary_stream, VerifyTopicRequest, VerifyTopicResponse),
            REPORT: (raw.stream_unary, ReportLoadRequest, ReportLoadResponse),
            FRAMES: (raw.stream_stream, PublishFramesRequest, PublishFramesResponse),
        }
        make, request, response = shapes[method]
        return make(
            f"/{method}", request_serializer=request.SerializeToString, response_deserializer=response.FromString
        )


class World:
    """Members `m0`, `m1`, ..., which see each other. All work is the last one's until a test says otherwise."""

    def __init__(self, members: list[Member], addresses: Addresses) -> None:
        self.members = members
        self.addresses = addresses

    def own(self, member: str, *, among: Sequence[Member] = ()) -> None:
        """Gives all work to a member, as those see it: all by default."""
        for each in among or self.members:
            each.placement.owners = lambda: member


@dataclass(frozen=True)
class Serving:
    """How the members of a world serve.

    Attributes:
        server: the section of the configuration.
        identity: of every member.
        ca_file: whom members verify each other with.
        client: what the tests' own channels are made with; None for plaintext.
    """

    server: ServerConfig = _PLAIN
    identity: Identity | None = None
    ca_file: str = ""
    client: grpc.ChannelCredentials | None = None

    @property
    def peers(self) -> PeerIdentity | None:
        identity = self.identity
        if identity is None:
            return None
        return PeerIdentity(identity.trust.trust_domain, identity.member.read, identity.callers)

    @property
    def callers(self) -> ServerIdentity | None:
        return None if self.identity is None else ServerIdentity(self.identity.callers, self.identity.member.read)


@asynccontextmanager
async def world(
    count: int = 2,
    *,
    serving: Serving = Serving(),
    limits: LimitsConfig | None = None,
    patience: float = 3.0,
    clocks: Sequence[Clock] = (),
    servicers: Callable[[int], list[Registration]] = lambda number: [],
) -> AsyncIterator[World]:
    """Members that run until the block ends."""
    names = [f"m{number}" for number in range(count)]
    addresses = Addresses()
    config = KernelConfig(server=serving.server, limits=limits or LimitsConfig())
    routes = {**ROUTES, REPORT: lambda request: UNIT}
    ids = itertools.count(1)
    async with AsyncExitStack() as stack:
        telemetry = await asyncio.to_thread(open_telemetry, TelemetryConfig(), version="0")
        stack.push_async_callback(asyncio.to_thread, telemetry.close)
        members = []
        for number, name in enumerate(names):
            placement = SetPlacement(name, frozenset(names))
            clock = clocks[number] if clocks else SystemClock()
            forwarding = Forwarding(
                placement=placement,
                addresses=addresses,
                trust=MemberTrust(SECRET, config.server, serving.peers, serving.ca_file),
                timeout=patience,
                clock=clock,
                rng=random.Random(number),
                routes=routes,
            )
            stack.push_async_callback(forwarding.close)
            shapes = Shapes(name)
            server = RpcServer(
                config,
                [(add_shapes, shapes), *servicers(number)],
                telemetry=telemetry,
                clock=clock,
                rng=random.Random(number),
                new_id=lambda: f"id-{next(ids)}",
                identity=serving.callers,
                forwarding=forwarding,
            )
            stack.push_async_callback(server.stop)
            await server.start()
            addresses[name] = server.addresses
            members.append(Member(placement, server, forwarding, shapes, serving.client))
            stack.push_async_callback(members[-1].channel.close)
        made = World(members, addresses)
        made.own(names[-1])
        yield made
