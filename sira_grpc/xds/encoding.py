"""The bytes of responses, put together from those of resources: what many streams are sent is made once.

A response is a body, the same for every stream that is sent the same resources, and an ending of the stream's own. The
numbers are those of the fields in `envoy.service.discovery.v3`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from envoy.service.discovery.v3.discovery_pb2 import ResourceError
from google.protobuf.duration_pb2 import Duration

from sira_grpc.xds.resource import Resource

CACHE_BYTES = 32 << 20
"""Bytes of bodies that are kept, at most."""

_WRAPPER = b"type.googleapis.com/envoy.service.discovery.v3.Resource"
_NOT_FOUND = 5
_OVERHEAD = 128
"""Bytes that a body takes beside its data, about."""


@dataclass(frozen=True, slots=True)
class Body:
    """What streams that are sent the same have in common.

    Attributes:
        type_url: of the resources.
        resources: what is in it.
        version: of all of them together, in whatever order.
        data: the most of a serialized response.
    """

    type_url: str
    resources: tuple[Resource, ...]
    version: str
    data: bytes


class Encoder:
    """Makes bodies, and keeps those that were used last.

    Args:
        cache_bytes: how much is kept, at most.
    """

    def __init__(self, cache_bytes: int = CACHE_BYTES) -> None:
        self._limit = cache_bytes
        self._size = 0
        self._bodies: OrderedDict[tuple[bool, str, float, tuple[Resource, ...]], Body] = OrderedDict()

    def sotw(self, type_url: str, resources: tuple[Resource, ...], ttl: float = 0) -> Body:
        """Returns the body of a DiscoveryResponse. With a TTL, in seconds, each resource is wrapped in it."""
        return self._body((False, type_url, ttl, resources))

    def delta(self, type_url: str, resources: tuple[Resource, ...], ttl: float = 0) -> Body:
        """Returns the body of a DeltaDiscoveryResponse. With a TTL, in seconds, each resource has it."""
        return self._body((True, type_url, ttl, resources))

    def _body(self, key: tuple[bool, str, float, tuple[Resource, ...]]) -> Body:
        body = self._bodies.get(key)
        if body is not None:
            self._bodies.move_to_end(key)
            return body
        delta, type_url, ttl, resources = key
        version = combined(resources)
        parts = [_field(1, version.encode()), _field(4, type_url.encode())]
        for resource in resources:
            parts += _delta_parts(resource, ttl) if delta else _sotw_parts(resource, ttl)
        body = Body(type_url, resources, version, b"".join(parts))
        size = _size(body)
        if size <= self._limit:
            self._bodies[key] = body
            self._size += size
        while self._size > self._limit:
            _, oldest = self._bodies.popitem(last=False)
            self._size -= _size(oldest)
        return body


def combined(resources: Iterable[Resource]) -> str:
    """Returns the version of resources together: the same for the same, in any order."""
    return f"{sum(int(resource.version, 16) for resource in resources) % (1 << 64):016x}"


def sotw_response(body: Body, nonce: str, missing: Iterable[str] = ()) -> bytes:
    """Returns a DiscoveryResponse, with an error for each name that stands for nothing."""
    errors = [_field(7, _not_found(body.type_url, name)) for name in missing]
    return b"".join((body.data, _field(5, nonce.encode()), *errors))


def delta_response(body: Body, nonce: str, removed: Iterable[str] = ()) -> bytes:
    """Returns a DeltaDiscoveryResponse, with the names of what is gone or never was."""
    return b"".join((body.data, _field(5, nonce.encode()), *(_field(6, name.encode()) for name in removed)))


def sotw_heartbeat(type_url: str, names: Iterable[str], version: str, nonce: str, ttl: float) -> bytes:
    """Returns a DiscoveryResponse that says of resources that they are as they were.

    An Envoy takes it for that if each has the version of the response that it accepted last.
    """
    alike = b"".join((_field(1, version.encode()), _ttl(ttl)))
    wrapped = (b"".join((_field(3, name.encode()), alike)) for name in names)
    resources = (_field(2, _field(1, _WRAPPER) + _field(2, resource)) for resource in wrapped)
    head = (_field(1, version.encode()), _field(4, type_url.encode()), _field(5, nonce.encode()))
    return b"".join((*head, *resources))


def delta_heartbeat(type_url: str, resources: Iterable[Resource], nonce: str, ttl: float) -> bytes:
    """Returns a DeltaDiscoveryResponse that says of resources that they are as they were."""
    alike = _ttl(ttl)
    beats = (_field(2, b"".join((_field(3, r.name.encode()), _field(1, r.version.encode()), alike))) for r in resources)
    return b"".join((_field(4, type_url.encode()), _field(5, nonce.encode()), *beats))


def _sotw_parts(resource: Resource, ttl: float) -> tuple[bytes, ...]:
    if not ttl:
        head = _any_head(resource)
        return _head(2, len(head) + len(resource.body)), head, resource.body
    wrapped = b"".join(_delta_parts(resource, ttl)[1:])
    outer = _field(1, _WRAPPER) + _head(2, len(wrapped))
    return _head(2, len(outer) + len(wrapped)), outer, wrapped


def _delta_parts(resource: Resource, ttl: float) -> tuple[bytes, ...]:
    head = _any_head(resource)
    own = _field(3, resource.name.encode()) + _field(1, resource.version.encode()) + (_ttl(ttl) if ttl else b"")
    own += _head(2, len(head) + len(resource.body)) + head
    return _head(2, len(own) + len(resource.body)), own, resource.body


def _any_head(resource: Resource) -> bytes:
    """Returns what comes before the body in a `google.protobuf.Any`."""
    return _field(1, resource.type_url.encode()) + _head(2, len(resource.body))


def _ttl(seconds: float) -> bytes:
    ttl = Duration()
    ttl.FromMilliseconds(round(seconds * 1000))
    return _field(6, ttl.SerializeToString())


def _not_found(type_url: str, name: str) -> bytes:
    error = ResourceError()
    error.resource_name.name = name
    error.error_detail.code = _NOT_FOUND
    error.error_detail.message = f"there is no {type_url.rpartition('.')[2]} of the name {name}"
    return bytes(error.SerializeToString())


def _field(number: int, data: bytes) -> bytes:
    return _head(number, len(data)) + data


def _head(number: int, length: int) -> bytes:
    """Returns the tag and the length of a field of bytes."""
    head = bytearray((number << 3 | 2,))
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    head.append(length)
    return bytes(head)


def _size(body: Body) -> int:
    return len(body.data) + 8 * len(body.resources) + _OVERHEAD
