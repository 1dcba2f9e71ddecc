"""What the answer of another member says of a call that failed there, and what the client is told."""

from __future__ import annotations

import logging
from typing import Any

import grpc
from google.protobuf.message import DecodeError
from google.rpc.error_details_pb2 import ErrorInfo
from google.rpc.status_pb2 import Status
from grpc import aio

from sira_grpc.errors import NotOwner, SiraError
from sira_grpc.rpc.status import DOMAIN

EXECUTED = "executed"
"""Metadata of a NotOwner, and of a KernelStopping: `no` where nothing of the call was done, `unknown` where it may
have been. Without it something may have been too."""
NO, UNKNOWN = "no", "unknown"
RETRY_SECONDS = 0.25
"""When clients should try again: by then another member has the work, or the connection stands again."""

_DETAILS = "grpc-status-details-bin"
_REPEATABLE = ("NOT_OWNER", "KERNEL_STOPPING")
_FORGED = "CREDENTIAL_INVALID"
# What gRPC itself says when a connection breaks, or the other process ends its calls.
_BROKEN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED)

log = logging.getLogger(__name__)


def not_executed(error: aio.AioRpcError) -> bool:
    """Whether the other member says that it did nothing of the call, and that it may be another's now."""
    info = _info(error)
    return info is not None and info.reason in _REPEATABLE and info.metadata.get(EXECUTED) == NO


def unanswered(error: aio.AioRpcError, member: str) -> SiraError | None:
    """Returns what to tell the client where the failure is one between members; None where it is the owner's answer."""
    info = _info(error)
    if info is None:
        return outcome_unknown(member) if error.code() in _BROKEN else None
    if info.reason == _FORGED:
        # The owner looks at no other credential of a forwarded call.
        log.error("member %s refuses the signature of this one: %s", member, error.details())
        return unreachable(member, "it refuses this member's signature: do their clocks differ?")
    return None


def refusal(error: aio.AioRpcError) -> tuple[str, dict[str, str]]:
    """Returns the reason that the owner gives, without `ERROR_REASON_`, and its metadata; empty where there is none."""
    info = _info(error)
    return ("", {}) if info is None else (info.reason, dict(info.metadata))


def outcome_unknown(member: str) -> NotOwner:
    """Makes the error of a call whose connection to its owner broke."""
    return NotOwner(
        f"the connection to member {member}, which serves this, was lost: whether the call was executed is not known",
        metadata={"member": member, EXECUTED: UNKNOWN},
        retry_after=RETRY_SECONDS,
    )


def unreachable(member: str, cause: str) -> NotOwner:
    """Makes the error of a call that was certainly not executed."""
    return NotOwner(
        f"member {member} serves this; {cause}",
        metadata={"member": member, EXECUTED: NO},
        retry_after=RETRY_SECONDS,
    )


async def pass_on(context: aio.ServicerContext[Any, Any], error: aio.AioRpcError) -> None:
    """Aborts a call with the status of the owner, details and trailing metadata included. Raises what `abort` does."""
    await context.abort(error.code(), error.details() or "", tuple(error.trailing_metadata() or ()))


def _info(error: aio.AioRpcError) -> ErrorInfo | None:
    """The ErrorInfo of Sira's edge; None in the statuses that gRPC makes, and those of other servers."""
    for key, value in error.trailing_metadata() or ():
        if key != _DETAILS or not isinstance(value, bytes):
            continue
        try:
            status = Status.FromString(value)
        except DecodeError:
            return None
        info = ErrorInfo()
        for detail in status.details:
            if detail.Unpack(info) and info.domain == DOMAIN:
                return info
    return None
