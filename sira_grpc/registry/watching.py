"""Follows a service for a reader: a snapshot, then changes, serialized once for all readers at one position."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing, suppress

from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.resolver_service_pb2 import (
    WatchChanges,
    WatchProgress,
    WatchRequest,
    WatchResponse,
    WatchSnapshot,
)

from sira_grpc.errors import ServiceNotFound
from sira_grpc.registry.entries import SERVICE_ITEM, ServiceEntry
from sira_grpc.registry.view import RegistryView
from sira_grpc.watch import check_start

PART_BYTES = 1 << 20
"""Size of one message, about: well below what clients take by default, 4 MiB."""
LAG_SECONDS = 2.0
"""By how much a member's view is behind another's, at most."""
KEPT_POSITIONS = 16
"""Positions for which the messages of a service are kept. Readers who keep up are all at one; few are behind."""


class Watching:
    """The streams of Watch.

    Args:
        shared: whether other members are on the same store.
    """

    def __init__(self, view: RegistryView, *, shared: bool = False) -> None:
        self._view = view
        self._shared = shared

    def follow(self, request: WatchRequest) -> AsyncGenerator[bytes, None]:
        """Yields serialized WatchResponses for ever. To be closed with aclose().

        Raises, at once:
            ServiceNotFound, NamespaceNotFound: the service is not there.
            RevisionCompacted, RevisionAhead: start_revision is of no use.
        or, where start_revision is ahead of the view of a store that others write to as well, from the iteration, after
        waiting LAG_SECONDS at most for the view to come to it;
        and from the iteration:
            ServiceNotFound: the service was deleted.
        """
        start = request.start_revision
        if self._shared and start > self._view.revision:
            return self._once_caught_up(request)
        return self._follow(request)

    async def _once_caught_up(self, request: WatchRequest) -> AsyncGenerator[bytes, None]:
        """Follows for a reader who comes from another member, whose view may be ahead of this one's."""
        with suppress(TimeoutError):
            async with asyncio.timeout(LAG_SECONDS):
                while self._view.revision < request.start_revision:
                    # Revision by revision, as the wait for one that never comes would be kept for ever.
                    await self._view.caught_up(self._view.revision + 1)
        async with aclosing(self._follow(request)) as messages:
            async for message in messages:
                yield message

    def _follow(self, request: WatchRequest) -> AsyncGenerator[bytes, None]:
        service = self._view.service(request.service)
        start = request.start_revision
        if start:
            check_start(start, self._view.revision)
            next(service.feed.since(start), None)  # raises if it is compacted
        return self._messages(service, start)

    async def _messages(self, service: ServiceEntry, start: int) -> AsyncGenerator[bytes, None]:
        feed = service.feed
        subscriber = feed.subscribe(start)
        try:
            if start and not subscriber.behind:
                yield WatchResponse(revision=start, progress=WatchProgress()).SerializeToString()
            while True:
                if feed.closed:
                    name = service.message.name
                    raise ServiceNotFound(f"{name} was deleted", metadata={"resource": name})
                revision = feed.revision
                for message in self._encoded(service, subscriber.position):
                    yield message
                subscriber.sent(max(revision, subscriber.position))
                await subscriber.wait()
        finally:
            subscriber.close()

    def _encoded(self, service: ServiceEntry, position: int) -> list[bytes]:
        if service.encoded_at != service.generation:
            service.encoded.clear()
            service.encoded_at = service.generation
        messages = service.encoded.get(position)
        if messages is None:
            while len(service.encoded) >= KEPT_POSITIONS:
                del service.encoded[next(iter(service.encoded))]
            parts = _changes(service, position) if position else _snapshot(service)
            messages = service.encoded[position] = [part.SerializeToString() for part in parts]
        return messages


def _snapshot(service: ServiceEntry) -> Iterator[WatchResponse]:
    parts = list(_parts(entry.message for entry in service.endpoints.values()))
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        snapshot = WatchSnapshot(endpoints=part, more=not last)
        if i == 0:
            snapshot.service.CopyFrom(service.message)
        yield WatchResponse(revision=service.feed.revision if last else 0, snapshot=snapshot)


def _changes(service: ServiceEntry, position: int) -> Iterator[WatchResponse]:
    items = list(service.feed.since(position))
    if not items:
        return
    written = [service.endpoints[name].message for name in items if name in service.endpoints]
    deleted = [name for name in items if name not in service.endpoints and name != SERVICE_ITEM]
    parts = list(_parts(written))
    for i, part in enumerate(parts):
        last = i == len(parts) - 1
        changes = WatchChanges(upserted=part)
        if i == 0 and SERVICE_ITEM in items:
            changes.service.CopyFrom(service.message)
        if last:
            changes.deleted.extend(deleted)
        # Who breaks off in between goes on from where it was: the parts are nothing one by one.
        yield WatchResponse(revision=service.feed.revision if last else position, changes=changes)


def _parts(endpoints: Iterable[Endpoint]) -> Iterator[list[Endpoint]]:
    """Yields lists of endpoints of about PART_BYTES each; at least one list."""
    part: list[Endpoint] = []
    size = 0
    for endpoint in endpoints:
        if size > PART_BYTES:
            yield part
            part, size = [], 0
        part.append(endpoint)
        size += endpoint.ByteSize()
    yield part
