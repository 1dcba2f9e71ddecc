"""The client status discovery service (CSDS): what the clients of this member were sent over xDS, for tools."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any

from envoy.admin.v3.config_dump_shared_pb2 import ClientResourceStatus
from envoy.service.status.v3 import csds_pb2, csds_pb2_grpc
from sira.xds.v1.client_pb2 import ResourceState

from sira_grpc.errors import FieldViolation, InvalidField, LimitExceeded
from sira_grpc.rpc.call import Context
from sira_grpc.xds.rendering import MAX_BYTES, MAX_LIST_BYTES
from sira_grpc.xds.stream import Stream
from sira_grpc.xds.streams import Streams

MAX_MATCHERS = 100

_STATES = {
    ResourceState.RESOURCE_STATE_MISSING: (ClientResourceStatus.DOES_NOT_EXIST, csds_pb2.SYNCED),
    ResourceState.RESOURCE_STATE_PENDING: (ClientResourceStatus.REQUESTED, csds_pb2.NOT_SENT),
    ResourceState.RESOURCE_STATE_SENT: (ClientResourceStatus.REQUESTED, csds_pb2.STALE),
    ResourceState.RESOURCE_STATE_ACKNOWLEDGED: (ClientResourceStatus.ACKED, csds_pb2.SYNCED),
    ResourceState.RESOURCE_STATE_REJECTED: (ClientResourceStatus.NACKED, csds_pb2.ERROR),
}

_PATTERNS: dict[str, Callable[[str, str], bool]] = {
    "exact": lambda node, text: node == text,
    "prefix": lambda node, text: node.startswith(text),
    "suffix": lambda node, text: node.endswith(text),
    "contains": lambda node, text: text in node,
}


class CsdsServicer(csds_pb2_grpc.ClientStatusDiscoveryServiceServicer):  # type: ignore[misc]  # xds-protos has no types
    """Tells of the streams of this member."""

    def __init__(self, streams: Streams) -> None:
        self._streams = streams

    async def FetchClientStatus(self, request: Any, context: Context) -> Any:
        """Answers with the clients that one of the matchers matches; with none, all of them.

        Raises:
            InvalidField: a matcher is of a form that is not supported, or there are too many.
            LimitExceeded: there is more than an answer holds.
        """
        return await self._status(request)

    async def StreamClientStatus(self, requests: AsyncIterator[Any], context: Context) -> AsyncIterator[Any]:
        """Answers each request as FetchClientStatus does."""
        async for request in requests:
            yield await self._status(request)

    async def _status(self, request: Any) -> Any:
        _check(request.node_matchers)
        answer = csds_pb2.ClientStatusResponse()
        contents, rest = 0 if request.exclude_resource_contents else MAX_BYTES, MAX_LIST_BYTES
        for stream in tuple(self._streams.streams):
            await asyncio.sleep(0)  # there may be thousands, one may have thousands of resources, and each is matched
            if _wanted(stream, request.node_matchers):
                config = answer.config.add()
                taken = _describe(config, stream, contents)
                contents -= taken
                rest -= config.ByteSize() - taken
                if rest < 0:
                    raise LimitExceeded("more clients match than an answer holds: match fewer by node_matchers")
        return answer


def _describe(config: Any, stream: Stream, budget: int) -> int:
    """Writes what a client has, with what the resources hold as far as the budget goes. Returns the bytes of that."""
    config.client_scope = stream.id
    node, taken = stream.node, 0
    if node is not None:
        config.node.id, config.node.user_agent_name = node.id, node.user_agent
        config.node.locality.region, config.node.locality.zone = node.region, node.zone
    for resource in stream.resources():
        sent = resource.sent
        entry = config.generic_xds_configs.add(type_url=resource.type_url, name=resource.name)
        entry.client_status, entry.config_status = _STATES[resource.state]
        if resource.rejection:
            entry.error_state.details = resource.rejection
            entry.error_state.version_info = sent.version if sent is not None else ""
        if sent is not None:
            entry.version_info = sent.version
            if taken + len(sent.body) <= budget:
                taken += len(sent.body)
                entry.xds_config.type_url, entry.xds_config.value = sent.type_url, sent.body
    return taken


def _check(matchers: Any) -> None:
    if len(matchers) > MAX_MATCHERS:
        raise InvalidField([FieldViolation("node_matchers", f"has at most {MAX_MATCHERS} elements")])
    for number, matcher in enumerate(matchers):
        field = f"node_matchers[{number}]"
        if matcher.node_metadatas:
            raise InvalidField([FieldViolation(f"{field}.node_metadatas", "cannot be matched; match node_id")])
        if matcher.node_id.WhichOneof("match_pattern") not in _PATTERNS:
            raise InvalidField([FieldViolation(f"{field}.node_id", f"must be one of {', '.join(_PATTERNS)}")])


def _wanted(stream: Stream, matchers: Any) -> bool:
    return not matchers or any(_matches(stream, matcher.node_id) for matcher in matchers)


def _matches(stream: Stream, pattern: Any) -> bool:
    kind = pattern.WhichOneof("match_pattern")
    node, text = stream.node.id if stream.node is not None else "", getattr(pattern, kind)
    if pattern.ignore_case:
        node, text = node.lower(), text.lower()
    return _PATTERNS[kind](node, text)
