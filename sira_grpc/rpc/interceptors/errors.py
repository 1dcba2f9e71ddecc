"""From whatever a servicer raised to what the caller is told."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

import grpc
from grpc import aio
from sira.errors.v1.error_reason_pb2 import ErrorReason

from sira_grpc.errors import SiraError
from sira_grpc.rpc.call import Call
from sira_grpc.rpc.status import status_of

_log = logging.getLogger(__name__)


class Errors:
    """Decides how a call that failed ends.

    Args:
        new_id: makes a correlation id, which the log and the caller are both given for a defect.
    """

    def __init__(self, new_id: Callable[[], str]) -> None:
        self._new_id = new_id

    def settle(self, call: Call, error: BaseException) -> grpc.Status | None:
        """Sets the code of the call and returns what to abort it with; None if the error is gRPC's own and goes on.

        Must be called in the task of the call, from the handler of the exception.
        """
        status = self._status(call, error)
        if status is not None:
            call.code = status.code
        return status

    def _status(self, call: Call, error: BaseException) -> grpc.Status | None:
        if isinstance(error, SiraError) and error.reason != ErrorReason.ERROR_REASON_INTERNAL:
            return status_of(error)
        if isinstance(error, aio.BaseError):
            # An abort that was sent already, or the connection went away while something was sent.
            call.code = call.context.code() or grpc.StatusCode.CANCELLED
            return None
        if isinstance(error, asyncio.CancelledError):
            return self._cancelled(call, error)
        if isinstance(error, Exception):
            return self._defect(call, error)
        call.code = grpc.StatusCode.UNAVAILABLE
        return None

    def _cancelled(self, call: Call, error: asyncio.CancelledError) -> grpc.Status | None:
        """Tells apart the kernel, the client, and a servicer that let an inner cancellation escape."""
        task = call.task
        if call.interrupted and task is not None and call.ending is not None:
            call.interrupted = False
            if task.uncancel() == 0:
                return status_of(call.ending)
        if task is None or task.cancelling():
            expired = call.context.time_remaining() == 0
            call.code = grpc.StatusCode.DEADLINE_EXCEEDED if expired else grpc.StatusCode.CANCELLED
            return None
        return self._defect(call, error)

    def _defect(self, call: Call, error: BaseException) -> grpc.Status:
        """The caller is told nothing but an id: the text of an exception may hold what is not theirs to see."""
        correlation_id = self._new_id()
        _log.error("%s failed [correlation id %s]", call.method.name, correlation_id, exc_info=error)
        return status_of(SiraError("internal error", metadata={"correlation_id": correlation_id}))
