"""The errors of the client: what a call to the kernel failed with, by kind, with the reason it gives."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import grpc

from sira_client.status_details import KEY, FieldViolation, StatusDetails, decode


class SiraError(grpc.aio.AioRpcError):
    """A call that failed. It is a grpc.aio.AioRpcError too, so that code which knows only gRPC can handle it.

    Attributes:
        status: the gRPC status code.
        message: what happened, for people.
        reason: name of the sira.errors.v1.ErrorReason without its prefix, such as `SERVICE_NOT_FOUND`. Empty if the
            error did not come from a kernel: a connection that failed, say.
        metadata: further facts, such as the name of the resource.
        violations: the fields that break a rule.
        retry_after: seconds after which trying again is worthwhile; None where that is not known.
    """

    default_status: ClassVar[grpc.StatusCode] = grpc.StatusCode.UNKNOWN

    def __init__(
        self,
        message: str,
        *,
        status: grpc.StatusCode | None = None,
        details: StatusDetails | None = None,
        cause: grpc.aio.AioRpcError | None = None,
    ) -> None:
        initial = cause.initial_metadata() if cause is not None else None
        trailing = cause.trailing_metadata() if cause is not None else None
        debug = cause.debug_error_string() if cause is not None else None
        super().__init__(status or self.default_status, initial, trailing, message, debug)
        details = details or StatusDetails()
        self.status: grpc.StatusCode = self.code()
        self.message: str = message
        self.reason: str = details.reason
        self.metadata: Mapping[str, str] = details.metadata
        self.violations: tuple[FieldViolation, ...] = details.violations
        self.retry_after: float | None = details.retry_after

    def __str__(self) -> str:
        """Status, message and reason in one line."""
        return f"{self.status.name}: {self.message}" + (f" ({self.reason})" if self.reason else "")

    def __repr__(self) -> str:
        """Class, status, message and reason in one line."""
        return f"<{type(self).__name__} {self}>"

    def __reduce__(self) -> tuple[Callable[..., SiraError], tuple[object, ...]]:
        """Lets the error be pickled, without the metadata of the call."""
        details = StatusDetails(self.reason, dict(self.metadata), self.violations, self.retry_after)
        return _rebuild, (type(self), self.message, self.status, details)


def _rebuild(kind: type[SiraError], message: str, status: grpc.StatusCode, details: StatusDetails) -> SiraError:
    return kind(message, status=status, details=details)


class InvalidArgumentError(SiraError):
    """The request breaks a rule: `violations` says which field and which rule."""

    default_status = grpc.StatusCode.INVALID_ARGUMENT


class NotFoundError(SiraError):
    """There is no such namespace, service, endpoint, lease, topic, subscription, dead letter or lock."""

    default_status = grpc.StatusCode.NOT_FOUND


class TopicNotFoundError(NotFoundError):
    """There is no such topic."""


class SubscriptionNotFoundError(NotFoundError):
    """There is no such subscription, or not any more."""


class DeadLetterNotFoundError(NotFoundError):
    """The dead letter was redriven or purged, or never was."""


class LockNotFoundError(NotFoundError):
    """Nobody holds the lock or waits for it."""


class AlreadyExistsError(SiraError):
    """It is there already, or belongs to somebody else."""

    default_status = grpc.StatusCode.ALREADY_EXISTS


class PermissionDeniedError(SiraError):
    """The caller may not do this."""

    default_status = grpc.StatusCode.PERMISSION_DENIED


class UnauthenticatedError(SiraError):
    """The caller has no identity where one is asked for."""

    default_status = grpc.StatusCode.UNAUTHENTICATED


class AbortedError(SiraError):
    """Somebody else came in between: another write, or another stream on the lease."""

    default_status = grpc.StatusCode.ABORTED


class FailedPreconditionError(SiraError):
    """The resource is not in a state in which this can be done."""

    default_status = grpc.StatusCode.FAILED_PRECONDITION


class LockHeldError(FailedPreconditionError):
    """The lock is held by others, and was not waited for long enough."""


class LockLostError(FailedPreconditionError):
    """The lock is not held any more: its TTL has passed, or somebody released it."""


class FencingTokenStaleError(FailedPreconditionError):
    """The fencing token that came with a write is not that of a holder any more: nothing was changed."""


class SequenceGapError(FailedPreconditionError):
    """A producer's sequence skips numbers; `metadata` has the one that was `expected`."""


class OutOfRangeError(SiraError):
    """The revision to go on from is too old, or ahead of the kernel."""

    default_status = grpc.StatusCode.OUT_OF_RANGE


class ResourceExhaustedError(SiraError):
    """The caller is over a limit, which `metadata` names."""

    default_status = grpc.StatusCode.RESOURCE_EXHAUSTED


class TopicFullError(ResourceExhaustedError):
    """A topic that refuses when it is full is full."""


class DeadlineExceededError(SiraError):
    """The answer did not come in time. What was written may stay written."""

    default_status = grpc.StatusCode.DEADLINE_EXCEEDED


class UnavailableError(SiraError):
    """Nobody is there to answer, or not now."""

    default_status = grpc.StatusCode.UNAVAILABLE


class DataLossError(SiraError):
    """The kernel's store is damaged."""

    default_status = grpc.StatusCode.DATA_LOSS


class InternalError(SiraError):
    """A defect in the kernel; the correlation id in `metadata` finds it in the kernel's log."""

    default_status = grpc.StatusCode.INTERNAL


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

_KINDS: dict[grpc.StatusCode, type[SiraError]] = {kind.default_status: kind for kind in SiraError.__subclasses__()}
_KINDS_BY_REASON: dict[str, type[SiraError]] = {
    "TOPIC_NOT_FOUND": TopicNotFoundError,
    "SUBSCRIPTION_NOT_FOUND": SubscriptionNotFoundError,
    "DEAD_LETTER_NOT_FOUND": DeadLetterNotFoundError,
    "SEQUENCE_GAP": SequenceGapError,
    "TOPIC_FULL": TopicFullError,
    "LOCK_NOT_FOUND": LockNotFoundError,
    "LOCK_HELD": LockHeldError,
    "LOCK_LOST": LockLostError,
    "FENCING_TOKEN_STALE": FencingTokenStaleError,
}


def from_rpc_error(error: grpc.aio.AioRpcError) -> SiraError:
    """The typed form of a failed call. One that is typed already is returned as it is."""
    if isinstance(error, SiraError):
        return error
    trailing = error.trailing_metadata()
    serialized = trailing.get(KEY) if trailing is not None else None
    details = decode(serialized) if isinstance(serialized, bytes) else StatusDetails()
    kind = _KINDS_BY_REASON.get(details.reason) or _KINDS.get(error.code(), SiraError)
    return kind(error.details() or "", status=error.code(), details=details, cause=error)
