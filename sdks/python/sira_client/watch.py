"""Follows a service through lost connections and kernel restarts."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator

import grpc
from sira.registry.v1.resolver_service_pb2 import WatchRequest

from sira_client.errors import from_rpc_error
from sira_client.link import Link
from sira_client.settings import Settings
from sira_client.view import ServiceView, ViewBuilder

_log = logging.getLogger(__name__)

PASSING = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.UNKNOWN,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.ABORTED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.DEADLINE_EXCEEDED,
    }
)
"""Statuses of a stream that may be gone when it is opened again."""


async def follow(link: Link, settings: Settings, service: str) -> AsyncIterator[ServiceView]:
    """Yields the service as it is, then each next state of it, for ever. A slow reader gets fewer, the latest last.

    A stream that is lost is resumed at its revision, with jittered back-off. If that revision is not to be had any
    more, or the kernel was replaced by one that is behind it, the next state comes from a snapshot.

    Args:
        link: to the kernel.
        settings: of the client.
        service: resource name.

    Raises:
        SiraError: from the iteration: the service is not there (NotFoundError), or not for this caller.
    """
    backoff = settings.backoff()
    builder = ViewBuilder()
    while True:
        member = link.member
        builder.reconnect()
        call = member.resolver.Watch(WatchRequest(service=service, start_revision=builder.revision))
        asked: float | None = None
        try:
            async for message in call:
                backoff.reset()
                view = builder.apply(message)
                if view is not None:
                    yield view
        except grpc.aio.AioRpcError as failure:
            error = from_rpc_error(failure)
            if error.status is grpc.StatusCode.OUT_OF_RANGE and builder.revision:
                _log.info("watch of %s begins again: %s", service, error)
                builder.restart()
                continue
            if error.status not in PASSING:
                raise error from failure
            asked = error.retry_after
            _log.debug("watch of %s was lost, and will be resumed: %s", service, error)
        finally:
            call.cancel()
        link.leave(member)
        await settings.clock.sleep(backoff.next(asked))
