"""The drain as a barrier across members: waits until the watchers at all of them were told."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence

from google.protobuf.duration_pb2 import Duration
from grpc import aio
from sira.cluster.internal.v1.peer_service_pb2 import AwaitDrainRequest

from sira_grpc.clock import Clock
from sira_grpc.rpc.forwarding.peer_calls import PeerCalls
from sira_grpc.times import NANOS

ANSWER_SECONDS = 1.0
"""How much longer than its watchers a member is waited for."""
CHUNK_BYTES = 1 << 20
"""Names in one request: about as many, as those of one service stay together, its watchers being counted once."""
MAX_CHUNK_BYTES = 3 << 20
"""Names in one request, at most: a message may have 4 MiB. A service with more has its watchers counted again."""


class PeerDrains:
    """Implements the registry's Peers.

    Args:
        calls: makes the calls.
        clock: time for how long is waited.
    """

    def __init__(self, calls: PeerCalls, clock: Clock) -> None:
        self._calls = calls
        self._clock = clock

    async def await_drain(self, endpoints: Sequence[str], revision: int, patience: float) -> tuple[int, int]:
        """See registry.peers.Peers."""
        until = self._clock.monotonic() + patience
        counts = await asyncio.gather(
            *(self._await_member(member, endpoints, revision, until) for member in self._calls.others)
        )
        return sum(notified for notified, _ in counts), sum(pending for _, pending in counts)

    async def _await_member(
        self, member: str, endpoints: Sequence[str], revision: int, until: float
    ) -> tuple[int, int]:
        told = untold = 0
        for chunk in _chunks(endpoints):
            patience = max(until - self._clock.monotonic(), 0.0)
            request = AwaitDrainRequest(endpoints=chunk, revision=revision, patience=_duration(patience))
            try:
                answer = await self._calls.await_drain(member, request, patience + ANSWER_SECONDS)
            except aio.AioRpcError:
                answer = None
            if answer is None:
                return told, untold + 1
            told, untold = told + answer.notified, untold + answer.pending
        return told, untold


def _chunks(endpoints: Sequence[str]) -> Iterator[list[str]]:
    """The names in requests that fit, those of a service together."""
    chunk: list[str] = []
    size = 0
    before = ""
    for name in sorted(endpoints):
        service = name.partition("/endpoints/")[0]
        if chunk and size >= (MAX_CHUNK_BYTES if service == before else CHUNK_BYTES):
            yield chunk
            chunk, size = [], 0
        chunk.append(name)
        size += len(name) + 3
        before = service
    if chunk:
        yield chunk


def _duration(seconds: float) -> Duration:
    made = Duration()
    made.FromNanoseconds(round(seconds * NANOS))
    return made
