"""What is there before each case of bad input, and how a case is written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from sira.registry.v1 import registry_service_pb2 as pb
from sira.registry.v1 import resolver_service_pb2 as read
from sira.registry.v1.health_check_pb2 import HealthCheck, TtlCheck
from sira.registry.v1.namespace_pb2 import Namespace

from tests.integration.registry_kernel import SERVICE, Running, endpoint

Code = grpc.StatusCode
DEFAULT = "namespaces/default"
MINE, TOLD, THEIRS = (f"{SERVICE}/endpoints/{i}" for i in ("mine", "told", "theirs"))
NEW, NONE = (f"{SERVICE}/endpoints/{i}" for i in ("new", "none"))
STALE = "999"
MALFORMED = ("", "x", "namespaces/", "namespaces/Default", "namespaces/-a", "namespaces/a-", "namespaces/" + "a" * 64)


@dataclass(frozen=True)
class World:
    """What is there before each case: two leases, three endpoints, the second of which reports its own health."""

    key: str
    other_key: str
    wrong_key: str
    lease: str
    page_token: str


@dataclass(frozen=True)
class Case:
    """A request, or those of a stream, that must be refused; field: what the error must name."""

    code: grpc.StatusCode
    reason: str
    requests: tuple[Message, ...]
    field: str = ""


async def prepare(running: Running) -> World:
    """Fills a registry."""
    # The service is not the first thing there is: a watch could begin before it was created.
    await running.registry.CreateNamespace(pb.CreateNamespaceRequest(namespace=Namespace(name="namespaces/other")))
    told = endpoint("told")
    told.health_check.CopyFrom(HealthCheck(ttl=TtlCheck(ttl=Duration(seconds=86_400))))
    mine = await running.register(endpoint("mine"), told)
    theirs = await running.register(endpoint("theirs"))
    page = await running.resolver.ListEndpoints(read.ListEndpointsRequest(parent=SERVICE, page_size=1))
    return World(
        key=mine.lease_key,
        other_key=theirs.lease_key,
        wrong_key=mine.lease_key.partition(".")[0] + "." + "0" * 32,
        lease=mine.lease.name,
        page_token=page.next_page_token,
    )


def refused(code: grpc.StatusCode, reason: str, *requests: Message, field: str = "") -> Case:
    return Case(code, reason, requests, field)


def broken(field: str, *requests: Message) -> Case:
    return Case(Code.INVALID_ARGUMENT, "INVALID_FIELD", requests, field)


def missing(reason: str, *requests: Message) -> Case:
    return Case(Code.NOT_FOUND, f"{reason}_NOT_FOUND", requests)


def wrong_mask(request: Message) -> Case:
    return Case(Code.INVALID_ARGUMENT, "INVALID_FIELD_MASK", (request,))


def stale(request: Message) -> Case:
    return Case(Code.ABORTED, "ETAG_MISMATCH", (request,))


def malformed(field: str, kind: type[Message], suffix: str = "", **fields: Any) -> Iterator[Case]:
    """Malformed names in a field that holds one."""
    for name in MALFORMED:
        yield broken(field, kind(**{field: name + suffix, **fields}))


def oversized(kind: type[Message], **fields: Any) -> Iterator[tuple[str, Any]]:
    """Resources with labels that are too many or too large, and the field that says so."""
    yield "metadata", kind(metadata={f"k{i}": "" for i in range(65)}, **fields)
    yield "metadata", kind(metadata={"k" * 64: ""}, **fields)
    yield "metadata", kind(metadata={"": ""}, **fields)
    yield "metadata", kind(metadata={"k": "v" * 1025}, **fields)
