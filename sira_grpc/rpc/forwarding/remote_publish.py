"""Publishes frames at the member that serves their topic: dead letters that are redriven to another namespace."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from grpc import StatusCode, aio
from sira.bus.v1.publish_service_pb2 import PublishFramesRequest, PublishFramesResponse
from sira.errors.v1.error_reason_pb2 import ErrorReason

from sira_grpc.bus.incoming import Incoming, Published
from sira_grpc.errors import (
    FieldViolation,
    InvalidField,
    KernelStopping,
    LimitExceeded,
    NotOwner,
    SiraError,
    StoreCorrupt,
    StoreUnavailable,
    TopicFull,
    TopicNotFound,
)
from sira_grpc.rpc.forwarding import answers
from sira_grpc.rpc.forwarding.attempts import MAX_PAUSE, MIN_PAUSE, Reach
from sira_grpc.rpc.forwarding.carried import carried
from sira_grpc.rpc.forwarding.peer_connection import PeerConnection
from sira_grpc.rpc.forwarding.routes import PUBLISH, bus_unit
from sira_grpc.rpc.forwarding.signature import HEADER, Signer

METHOD = f"{PUBLISH}PublishFrames"
ANSWER_SECONDS = 30.0
"""How long the owner may take to answer. Whoever hands the dead letters over waits for it."""

_RAISED: Mapping[str, type[SiraError]] = {
    ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_"): error
    for error in (KernelStopping, LimitExceeded, NotOwner, StoreCorrupt, StoreUnavailable, TopicFull, TopicNotFound)
}

_INVALID = "INVALID_FIELD"


class RemotePublish:
    """Implements the RemotePublish of the bus. The caller is this member, as which it is counted at the owner.

    A frame is sent again only where it was certainly not stored, as a call that is forwarded is.

    Args:
        reach: how members are reached.
        signer: signs the calls.
    """

    def __init__(self, reach: Reach, signer: Signer) -> None:
        self._reach = reach
        self._signer = signer
        self._caller = f"members/{reach.placement.member}"

    async def publish(self, topic: str, partition: int, incoming: Incoming) -> Published:
        """Stores a frame in a partition of a topic, by its name.

        Raises:
            TopicNotFound, TopicFull, InvalidField, LimitExceeded, StoreUnavailable, StoreCorrupt, KernelStopping: as
                its owner refuses it.
            NotOwner: the owner could not be reached, or the connection to it was lost, or this member is it by now.
        """
        request = PublishFramesRequest(
            topic=topic, partition=partition, frame=incoming.data, checksum=incoming.checksum
        ).SerializeToString()
        unit, until = bus_unit(topic), self._reach.clock.monotonic() + self._reach.timeout
        while True:
            member = self._reach.placement.owner(unit)
            if member == self._reach.placement.member:
                raise answers.unreachable(member, "its namespace has just come here")
            # One that was there all along is used at the last moment too.
            left = max(until - self._reach.clock.monotonic(), 0.001)
            failure = answers.unreachable(member, "it could not be reached")
            connection = await self._reach.peers.reach(member, left)
            if connection is not None:
                try:
                    return await self._send(connection, member, request)
                except aio.AioRpcError as error:
                    if not answers.not_executed(error):
                        raise _told(error, member, topic) from error
                failure = answers.unreachable(member, "it does not take the call yet, or any more")
            pause = self._reach.rng.uniform(MIN_PAUSE, MAX_PAUSE)
            if self._reach.clock.monotonic() + pause >= until:
                raise failure
            await asyncio.sleep(pause)

    async def _send(self, connection: PeerConnection, member: str, request: bytes) -> Published:
        header = self._signer.sign(METHOD, identity="", caller=self._caller)
        make = connection.callable(METHOD, reads=True, streams=True)
        outgoing: Any = make(timeout=ANSWER_SECONDS, metadata=(*carried(()), (HEADER, header)))
        connection.begin(outgoing)
        try:
            data = await _answer(outgoing, request)
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            # The call was cancelled, and not this task: the connection was cut.
            raise answers.outcome_unknown(member) from None
        finally:
            connection.end(outgoing)
        if not isinstance(data, bytes):
            raise answers.outcome_unknown(member)
        response = PublishFramesResponse.FromString(data)
        return Published(response.offset, response.count, response.duplicate)


async def _answer(outgoing: Any, request: bytes) -> Any:
    """Sends one message and returns the answer to it; EOF if there is none."""
    with suppress(asyncio.InvalidStateError):  # it is over already: reading tells how
        await outgoing.write(request)
        await outgoing.done_writing()
    return await outgoing.read()


def _told(error: aio.AioRpcError, member: str, topic: str) -> SiraError:
    """Returns what the answer of the owner says, as an error of the bus."""
    between = answers.unanswered(error, member)
    if between is not None:
        return between
    reason, metadata = answers.refusal(error)
    message = error.details() or ""
    raised = _RAISED.get(reason)
    if raised is not None:
        return raised(message, metadata=metadata, retry_after=answers.RETRY_SECONDS)
    if error.code() is StatusCode.DEADLINE_EXCEEDED:
        return answers.outcome_unknown(member)
    if reason == _INVALID:
        return InvalidField([FieldViolation("topic", f"{topic} does not take it: {message}")])
    return StoreUnavailable(f"member {member} could not store it: {message}", retry_after=answers.RETRY_SECONDS)
