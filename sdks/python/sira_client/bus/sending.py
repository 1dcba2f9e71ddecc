"""Sends the frames of a producer on a stream, and on the next one when it is lost."""

from __future__ import annotations

import asyncio
import logging

import grpc
from sira.bus.v1.frame_pb2 import Compression
from sira.bus.v1.publish_service_pb2 import PublishFramesRequest, PublishFramesResponse
from sira.bus.v1.publish_service_pb2_grpc import PublishServiceStub

from sira_client.bus.batches import Batches
from sira_client.bus.outbox import Outbox
from sira_client.bus.outgoing import OutgoingFrame
from sira_client.errors import InvalidArgumentError, SiraError, UnavailableError, from_rpc_error
from sira_client.first_of import drop
from sira_client.frames import checksum
from sira_client.link import Link, Member
from sira_client.settings import Settings

_log = logging.getLogger(__name__)

MAX_FRAME_BYTES = 3 << 20
"""What the kernel takes at most."""

_OF_ONE_FRAME = frozenset(
    {
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.FAILED_PRECONDITION,
        grpc.StatusCode.OUT_OF_RANGE,
        grpc.StatusCode.DATA_LOSS,
    }
)
"""Statuses that say something of a frame, and nothing of those after it."""
_FULL = "TOPIC_FULL"
"""The reason of the same kind whose status passes otherwise."""

_Call = grpc.aio.StreamStreamCall[PublishFramesRequest, PublishFramesResponse]


class Sender:
    """Sends what comes into the outbox, in order, until it is cancelled.

    A stream that is lost is opened again, with jittered back-off, and everything that was not answered is sent once
    more with the numbers that it had: so nothing is stored twice, and nothing is reordered.

    Args:
        link: to the kernel.
        settings: of the client.
        topic: resource name.
        batches: open frames, which are completed while nothing else is under way.
        outbox: what to send.
        compression: of the payloads.
        linger: how long, in seconds, an open frame waits for more records while others are under way.
    """

    def __init__(
        self,
        link: Link,
        settings: Settings,
        topic: str,
        batches: Batches,
        outbox: Outbox,
        *,
        compression: Compression.ValueType,
        linger: float,
    ) -> None:
        self._link = link
        self._settings = settings
        self._topic = topic
        self._batches = batches
        self._outbox = outbox
        self._compression = compression
        self._linger = linger
        self._backoff = settings.backoff()
        self._hurry = False
        self._opened = asyncio.Event()

    def added(self) -> None:
        """A record went into an open frame. If nothing is under way it goes at once, and else after the linger."""
        outbox = self._outbox
        if self._linger and outbox:
            self._opened.set()
        else:
            self._hurry = True
            outbox.news.set()

    async def run(self) -> None:
        """Sends until it is cancelled."""
        lingering = asyncio.create_task(self._seal_in_time())
        try:
            while True:
                await self._work()
                member = self._link.member
                error = await self._stream(member)
                if error is not None:
                    await self._recover(member, error)
        finally:
            await drop(lingering)

    async def _work(self) -> None:
        """Waits until there is something to send."""
        while not self._outbox and not self._hurry:
            self._outbox.news.clear()
            await self._outbox.news.wait()

    async def _seal_in_time(self) -> None:
        while True:
            await self._opened.wait()
            await self._settings.clock.sleep(self._linger)
            self._opened.clear()
            self._batches.seal_all()

    async def _stream(self, member: Member) -> SiraError | None:
        """Sends on one stream. Returns why it was lost; None if it was left because its connection was replaced."""
        call: _Call = member.carrying(PublishServiceStub(member.channel).PublishFrames())
        writing = asyncio.create_task(self._write(call, member))
        try:
            while isinstance(response := await call.read(), PublishFramesResponse):
                self._outbox.answered(response)
                self._backoff.reset()
            return None if writing.done() and writing.result() else UnavailableError("the kernel ended the stream")
        except grpc.aio.AioRpcError as failure:
            return from_rpc_error(failure)
        finally:
            await drop(writing)
            call.cancel()

    async def _write(self, call: _Call, member: Member) -> bool:
        """Writes until the connection is replaced, and everything answered: then it is true. False if it is lost."""
        topic, replaced = self._topic, member.replaced
        replaced.add_done_callback(self._wake)
        try:
            while not replaced.done() or self._outbox.sent:
                frame = None if replaced.done() else self._next()
                if frame is None:
                    self._outbox.news.clear()
                    await self._outbox.news.wait()
                elif (data := self._encoded(frame)) is not None:
                    await call.write(
                        PublishFramesRequest(
                            topic=topic,
                            partition=frame.partition,
                            frame=data,
                            checksum=checksum(data),
                            producer_id=frame.producer_id,
                            sequence=frame.sequence,
                        )
                    )
                    topic = ""
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return False  # whoever reads is told why
        finally:
            replaced.remove_done_callback(self._wake)
        return True

    def _wake(self, _: object) -> None:
        self._outbox.news.set()

    def _next(self) -> OutgoingFrame | None:
        outbox = self._outbox
        if not outbox.waiting and self._hurry and outbox.open:
            self._hurry = False
            self._batches.seal_all()
        return outbox.next()

    def _encoded(self, frame: OutgoingFrame) -> bytes | None:
        """The serialized frame; None if it cannot be one, and was refused for it."""
        try:
            data = frame.encode(self._compression)
        except (TypeError, ValueError) as error:
            self._outbox.refused(frame, InvalidArgumentError(f"the records are no frame: {error}"))
            return None
        if len(data) > MAX_FRAME_BYTES:
            refusal = InvalidArgumentError(f"a frame must be at most {MAX_FRAME_BYTES:,} bytes, not {len(data):,}")
            self._outbox.refused(frame, refusal)
            return None
        return data

    async def _recover(self, member: Member, error: SiraError) -> None:
        """Decides what a lost stream means for the frames, and waits before the next one is opened."""
        if error.status in _OF_ONE_FRAME or error.reason == _FULL:
            self._outbox.at_fault(error)
        elif self._link.may_pass(error):
            self._outbox.lost()
            self._link.leave(member)
            delay = self._backoff.next(error.retry_after)
            _log.debug("the stream to %s was lost, and is opened again in %.3f s: %s", self._topic, delay, error)
            await self._settings.clock.sleep(delay)
        else:
            self._hurry = False
            self._batches.seal_all()
            self._outbox.fail_all(error)
