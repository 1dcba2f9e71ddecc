"""The one table from errors to gRPC statuses, and the google.rpc.Status that carries an error to the caller."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
from google.protobuf.duration_pb2 import Duration
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status
from sira.errors.v1.error_reason_pb2 import ErrorReason

from sira_grpc.errors import FieldViolation, InvalidField, SiraError

DOMAIN = "sira"
"""The domain of every ErrorInfo."""
MAX_MESSAGE_BYTES = 600
"""Longest message. Clients refuse trailers above 8 KiB, and gRPC sends the message twice, once percent-encoded."""
MAX_VIOLATIONS_BYTES = 2048
"""Size of the field violations together; how many were left out is in the metadata, `violations_left_out`."""
MAX_METADATA_VALUE_BYTES = 256
"""Longest value of the metadata: a resource name fits."""

_Code = grpc.StatusCode
_CODES: dict[ErrorReason.ValueType, grpc.StatusCode] = {
    ErrorReason.ERROR_REASON_INVALID_FIELD: _Code.INVALID_ARGUMENT,
    ErrorReason.ERROR_REASON_INVALID_FILTER: _Code.INVALID_ARGUMENT,
    ErrorReason.ERROR_REASON_INVALID_PAGE_TOKEN: _Code.INVALID_ARGUMENT,
    ErrorReason.ERROR_REASON_INVALID_FIELD_MASK: _Code.INVALID_ARGUMENT,
    ErrorReason.ERROR_REASON_NAMESPACE_NOT_FOUND: _Code.NOT_FOUND,
    ErrorReason.ERROR_REASON_SERVICE_NOT_FOUND: _Code.NOT_FOUND,
    ErrorReason.ERROR_REASON_ENDPOINT_NOT_FOUND: _Code.NOT_FOUND,
    ErrorReason.ERROR_REASON_LEASE_NOT_FOUND: _Code.NOT_FOUND,
    ErrorReason.ERROR_REASON_ALREADY_EXISTS: _Code.ALREADY_EXISTS,
    ErrorReason.ERROR_REASON_ENDPOINT_HELD: _Code.ALREADY_EXISTS,
    ErrorReason.ERROR_REASON_LEASE_NOT_YOURS: _Code.PERMISSION_DENIED,
    ErrorReason.ERROR_REASON_ETAG_MISMATCH: _Code.ABORTED,
    ErrorReason.ERROR_REASON_CONFLICT: _Code.ABORTED,
    ErrorReason.ERROR_REASON_LEASE_SUPERSEDED: _Code.ABORTED,
    ErrorReason.ERROR_REASON_NOT_EMPTY: _Code.FAILED_PRECONDITION,
    ErrorReason.ERROR_REASON_NO_TTL_CHECK: _Code.FAILED_PRECONDITION,
    ErrorReason.ERROR_REASON_REVISION_COMPACTED: _Code.OUT_OF_RANGE,
    ErrorReason.ERROR_REASON_REVISION_AHEAD: _Code.OUT_OF_RANGE,
    ErrorReason.ERROR_REASON_LIMIT_EXCEEDED: _Code.RESOURCE_EXHAUSTED,
    ErrorReason.ERROR_REASON_UNAUTHENTICATED: _Code.UNAUTHENTICATED,
    ErrorReason.ERROR_REASON_PERMISSION_DENIED: _Code.PERMISSION_DENIED,
    ErrorReason.ERROR_REASON_KERNEL_STOPPING: _Code.UNAVAILABLE,
    ErrorReason.ERROR_REASON_STORE_UNAVAILABLE: _Code.UNAVAILABLE,
    ErrorReason.ERROR_REASON_STORE_CORRUPT: _Code.DATA_LOSS,
    ErrorReason.ERROR_REASON_INTERNAL: _Code.INTERNAL,
    ErrorReason.ERROR_REASON_DEADLINE_EXCEEDED: _Code.DEADLINE_EXCEEDED,
    ErrorReason.ERROR_REASON_JOIN_TOKEN_INVALID: _Code.UNAUTHENTICATED,
    ErrorReason.ERROR_REASON_CREDENTIAL_INVALID: _Code.UNAUTHENTICATED,
    ErrorReason.ERROR_REASON_CREDENTIAL_EXPIRED: _Code.UNAUTHENTICATED,
    ErrorReason.ERROR_REASON_CREDENTIAL_REVOKED: _Code.UNAUTHENTICATED,
    ErrorReason.ERROR_REASON_IDENTITY_NOT_ALLOWED: _Code.PERMISSION_DENIED,
    ErrorReason.ERROR_REASON_JOIN_TOKEN_NOT_FOUND: _Code.NOT_FOUND,
    ErrorReason.ERROR_REASON_TRUST_DOMAIN_NOT_FOUND: _Code.NOT_FOUND,
    ErrorReason.ERROR_REASON_ROTATION_UNDER_WAY: _Code.FAILED_PRECONDITION,
    ErrorReason.ERROR_REASON_NO_ROTATION: _Code.FAILED_PRECONDITION,
    ErrorReason.ERROR_REASON_BUNDLE_UNAVAILABLE: _Code.FAILED_PRECONDITION,
    ErrorReason.ERROR_REASON_TOPIC_NOT_FOUND: _Code.NOT_FOUND,
    ErrorReason.ERROR_REASON_SUBSCRIPTION_NOT_FOUND: _Code.NOT_FOUND,
    ErrorReason.ERROR_REASON_DEAD_LETTER_NOT_FOUND: _Code.NOT_FOUND,
    ErrorReason.ERROR_REASON_SEQUENCE_GAP: _Code.FAILED_PRECONDITION,
    ErrorReason.ERROR_REASON_TOPIC_FULL: _Code.RESOURCE_EXHAUSTED,
    ErrorReason.ERROR_REASON_NOT_OWNER: _Code.UNAVAILABLE,
    ErrorReason.ERROR_REASON_LOCK_NOT_FOUND: _Code.NOT_FOUND,
    ErrorReason.ERROR_REASON_LOCK_HELD: _Code.FAILED_PRECONDITION,
    ErrorReason.ERROR_REASON_LOCK_LOST: _Code.FAILED_PRECONDITION,
    ErrorReason.ERROR_REASON_LOCK_CAPACITY_DIFFERS: _Code.FAILED_PRECONDITION,
    ErrorReason.ERROR_REASON_FENCING_TOKEN_STALE: _Code.FAILED_PRECONDITION,
    ErrorReason.ERROR_REASON_POLICY_NOT_SUPPORTED: _Code.FAILED_PRECONDITION,
    ErrorReason.ERROR_REASON_XDS_CLIENT_NOT_FOUND: _Code.NOT_FOUND,
}


def code_of(reason: ErrorReason.ValueType) -> grpc.StatusCode:
    """Returns the gRPC status that a reason comes with.

    Raises:
        KeyError: ERROR_REASON_UNSPECIFIED, which is none.
    """
    return _CODES[reason]


def status_of(error: SiraError) -> grpc.Status:
    """Returns what a call is aborted with: the code, the message, and the details in its trailing metadata.

    The details are an ErrorInfo; a BadRequest for InvalidField; a RetryInfo where the error knows when to try again.
    """
    code = code_of(error.reason)
    status = Status(code=code.value[0], message=_cut(error.message, MAX_MESSAGE_BYTES))
    metadata = {key: _cut(value, MAX_METADATA_VALUE_BYTES) for key, value in error.metadata.items()}
    if isinstance(error, InvalidField):
        violations = list(_fitting(error.violations))
        if len(violations) < len(error.violations):
            metadata["violations_left_out"] = str(len(error.violations) - len(violations))
        status.details.add().Pack(BadRequest(field_violations=violations))
    if error.retry_after is not None:
        delay = Duration()
        delay.FromMilliseconds(round(error.retry_after * 1000))
        status.details.add().Pack(RetryInfo(retry_delay=delay))
    reason = ErrorReason.Name(error.reason).removeprefix("ERROR_REASON_")
    status.details.add().Pack(ErrorInfo(reason=reason, domain=DOMAIN, metadata=metadata))
    aborted: grpc.Status = rpc_status.to_status(status)
    return aborted


def _fitting(violations: tuple[FieldViolation, ...]) -> Iterator[BadRequest.FieldViolation]:
    """The first violations, as many as fit; always one."""
    left = MAX_VIOLATIONS_BYTES
    for violation in violations:
        wire = BadRequest.FieldViolation(
            field=_cut(violation.field, MAX_METADATA_VALUE_BYTES), description=_cut(violation.rule, MAX_MESSAGE_BYTES)
        )
        left -= wire.ByteSize()
        if left < 0:
            return
        yield wire


def _cut(text: str, size: int) -> str:
    """The text, cut to a size in UTF-8 bytes. What is no Unicode, which Python's strings may hold, becomes `?`."""
    data = text.encode(errors="replace")
    return data.decode() if len(data) <= size else data[: size - 3].decode(errors="ignore") + "..."
