"""A client of one stream, without a transport: it says what a test has it say, and remembers what it was sent."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
    Resource,
)

from sira_grpc.xds.stream import Stream
from sira_grpc.xds.streams import Streams
from tests.clocks import FakeClock
from tests.unit.xds.memory_source import MemorySource

TTL = 9.0


def streams(source: MemorySource, clock: FakeClock, *, ttl: float = 0.0, max_names: int = 100) -> Streams:
    ids = count(1)
    return Streams(
        source, clock, batch_limit=0.0, max_names=max_names, resource_ttl=ttl, new_id=lambda: f"s{next(ids)}"
    )


class Client:
    """Says what is asked of it."""

    def __init__(self, stream: Stream, *, agent: str = "gRPC C-core linux Python", cluster: str = "") -> None:
        self.stream = stream
        self.node: dict[str, Any] = {"id": "n", "user_agent_name": agent, "cluster": cluster}
        self.nonces: dict[str, str] = {}
        self.versions: dict[str, str] = {}

    def say(self, type_url: str, **fields: Any) -> None:
        """Sends a request as it is told."""
        message = DeltaDiscoveryRequest if self.stream.delta else DiscoveryRequest
        first = {} if self.stream.node is not None else {"node": self.node}
        self.stream.receive(message(type_url=type_url, **first, **fields))

    def ask(self, type_url: str, *names: str) -> None:
        """State of the world: asks for names, with the nonce and version that it has."""
        nonce, version = self.nonces.get(type_url, ""), self.versions.get(type_url, "")
        self.say(type_url, resource_names=names, response_nonce=nonce, version_info=version)

    def subscribe(self, type_url: str, *names: str, known: Mapping[str, str] | None = None) -> None:
        """Delta: asks for names, with the versions that it knows from a stream before."""
        self.say(type_url, resource_names_subscribe=names, initial_resource_versions=known or {})

    def unsubscribe(self, type_url: str, *names: str) -> None:
        self.say(type_url, resource_names_unsubscribe=names)

    def ack(self, response: Any, *names: str) -> None:
        """Accepts; state of the world: asking for names."""
        asked = {} if self.stream.delta else {"resource_names": names, "version_info": response.version_info}
        self.say(response.type_url, response_nonce=response.nonce, **asked)

    def nack(self, response: Any, *names: str, reason: str = "bad") -> None:
        """Rejects; state of the world: asking for names."""
        asked = {} if self.stream.delta else {"resource_names": names}
        error = {"code": 3, "message": reason}
        self.say(response.type_url, response_nonce=response.nonce, error_detail=error, **asked)

    def take(self) -> Any:
        """Returns the next response, and remembers its nonce; None if there is none."""
        data = self.stream.next_response()
        if data is None:
            return None
        response = (DeltaDiscoveryResponse if self.stream.delta else DiscoveryResponse).FromString(data)
        self.nonces[response.type_url] = response.nonce
        if not self.stream.delta:
            self.versions[response.type_url] = response.version_info
        return response

    def take_all(self) -> list[Any]:
        """Returns all responses that are due."""
        return list(iter(self.take, None))

    def one(self) -> Any:
        """Returns the only response that is due."""
        [response] = self.take_all()
        return response

    def acked(self, *names: str) -> Any:
        """Takes the only response that is due, and accepts it."""
        response = self.one()
        self.ack(response, *names)
        return response


def bodies(response: Any) -> list[str]:
    """Returns what is in a response, in the order in which it is."""
    return [_body(resource) for resource in response.resources]


def errors(response: DiscoveryResponse) -> list[str]:
    """Returns the names of which a response says that they stand for nothing."""
    return [error.resource_name.name for error in response.resource_errors]


def types(responses: Iterable[Any]) -> list[str]:
    return [response.type_url for response in responses]


def _body(resource: Any) -> str:
    value = resource.resource.value if isinstance(resource, Resource) else resource.value
    return str(value.decode())
