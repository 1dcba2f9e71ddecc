"""What the clients of this member were sent, what they made of it, and what they would get now."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence

from sira.xds.v1.client_pb2 import Client, ClientResource, ResourceState
from sira.xds.v1.client_service_pb2 import ExplainedClient

from sira_grpc.errors import XdsClientNotFound
from sira_grpc.pages import take_page
from sira_grpc.registry.resources import Resources
from sira_grpc.times import timestamp
from sira_grpc.xds import names
from sira_grpc.xds.explanation import Explained
from sira_grpc.xds.node import Node
from sira_grpc.xds.references import targets
from sira_grpc.xds.rendering import MAX_LIST_BYTES, Rendered
from sira_grpc.xds.stream import Stream
from sira_grpc.xds.streams import Streams
from sira_grpc.xds.subjects import Scope, subject

MAX_CLIENTS = 100
MAX_RESOURCES = 1000
_ROW_BYTES = 160

_ABSENT = (ResourceState.RESOURCE_STATE_MISSING, ResourceState.RESOURCE_STATE_UNSPECIFIED)


class Explainer:
    """Reads the streams of this member.

    Args:
        streams: that are open.
        registry: to know which services a policy refers to.
        member: id of this member.
    """

    def __init__(self, streams: Streams, registry: Resources, *, member: str) -> None:
        self._streams = streams
        self._registry = registry
        self._member = member

    async def list_clients(self, client: str, *, size: int, token: str) -> tuple[list[Client], str]:
        """Returns a page of clients by node and stream, and the token of the next one.

        Args:
            client: only those that it names, as `matches` says; empty for all.
            size, token: see pages.take_page.

        Raises:
            InvalidPageToken.
        """
        streams = {_key(stream): stream for stream in self._streams.streams if not client or matches(stream, client)}
        page, following = await take_page(streams, streams.get, None, size=size, token=token, query=f"xds {client}")
        clients = []
        for stream in page:
            clients.append(self._describe(stream))
            await asyncio.sleep(0)  # one may have thousands of resources
        return clients, following

    async def explain(self, client: str, service: str) -> list[ExplainedClient]:
        """Returns the streams of a client with its resources, as far as there is room for them in an answer.

        Args:
            client: see `matches`.
            service: only resources that concern this one; empty for all.

        Raises:
            XdsClientNotFound: no stream is the client's.
        """
        streams = sorted((s for s in self._streams.streams if matches(s, client)), key=_key)[:MAX_CLIENTS]
        if not streams:
            raise XdsClientNotFound(
                f"no client {client} takes its configuration from this member", metadata={"resource": client}
            )
        told, room = [], MAX_LIST_BYTES
        for stream in streams:
            rows = list(_fitting(self._rows(stream, service), room))
            room -= sum(map(_size, rows))
            told.append((self._describe(stream), rows))
            await asyncio.sleep(0)
        wanted = [resource for _, rows in told for row in rows for resource in (row.sent, row.current)]
        texts = await asyncio.to_thread(Rendered, wanted)
        return [
            ExplainedClient(client=described, resources=[_explained(row, texts) for row in rows])
            for described, rows in told
        ]

    def _describe(self, stream: Stream) -> Client:
        node = stream.node or Node(id="")
        described = Client(
            stream=stream.id,
            node=node.id,
            identity=str(stream.identity or ""),
            kind=node.kind,
            user_agent=node.user_agent,
            service=node.service,
            delta=stream.delta,
            connect_time=timestamp(stream.connected_ns),
            resources=sum(row.state not in _ABSENT for row in stream.resources()),
            rejected=stream.rejected,
            member=self._member,
        )
        if node.region or node.zone:
            described.locality.region, described.locality.zone = node.region, node.zone
        return described

    def _rows(self, stream: Stream, service: str) -> Sequence[Explained]:
        node = stream.node or Node(id="")
        related = self._related(service) if service else frozenset()
        found = (row for row in stream.resources() if not service or concerns(row.type_url, row.name, node, related))
        return sorted(found, key=lambda row: (row.type_url, row.name))[:MAX_RESOURCES]

    def _related(self, service: str) -> frozenset[str]:
        """A service, and those that its policy sends calls to."""
        entry = self._registry.services.get(service)
        policy = (entry.message.traffic_policy,) if entry is not None else ()
        return frozenset((service, *(target.service for each in policy for target in targets(service, each))))


def matches(stream: Stream, client: str) -> bool:
    """Whether a text names the client of a stream: by node id, SPIFFE ID, or name of its service, in full or short."""
    node = stream.node
    if client == str(stream.identity or ""):
        return True
    return node is not None and client in (node.id, node.service, names.short(node.service) if node.service else None)


def concerns(type_url: str, name: str, node: Node, services: Iterable[str]) -> bool:
    """Whether a resource of a client is about one of some services, or about all."""
    about = subject(type_url, name, node.namespace, envoy=node.envoy)
    if about is None:
        return False
    if about.scope is Scope.CLIENT:
        return node.service in services
    return about.target is None or about.target.service in services


def _key(stream: Stream) -> str:
    return f"{stream.node.id if stream.node is not None else ''}\0{stream.id}"


def _size(row: Explained) -> int:
    """Bytes that a resource takes in an answer, at most, but for what it holds."""
    return _ROW_BYTES + len(row.name.encode()) + len(row.rejection.encode())


def _fitting(rows: Iterable[Explained], room: int) -> Iterator[Explained]:
    for row in rows:
        room -= _size(row)
        if room < 0:
            return
        yield row


def _explained(row: Explained, texts: Rendered) -> ClientResource:
    return ClientResource(
        type_url=row.type_url,
        name=row.name,
        state=row.state,
        sent_version=row.sent.version if row.sent is not None else "",
        current_version=row.current.version if row.current is not None else "",
        rejection=row.rejection,
        sent_json=texts.of(row.sent),
        current_json=texts.of(row.current),
    )
