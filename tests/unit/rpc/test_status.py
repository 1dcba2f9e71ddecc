"""The table from errors to gRPC statuses, and what the statuses say."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from sira.errors.v1.error_reason_pb2 import ErrorReason

from sira_grpc import errors
from sira_grpc.errors import FieldViolation, InvalidField, LimitExceeded, ServiceNotFound, SiraError
from sira_grpc.rpc.status import MAX_MESSAGE_BYTES, code_of, status_of

PROTO = Path(__file__).parents[3] / "proto/sira/errors/v1/error_reason.proto"
REASONS = [reason for reason in ErrorReason.values() if reason != ErrorReason.ERROR_REASON_UNSPECIFIED]
TRAILER_BYTES = 8192
"""What clients accept by default."""


def details(status: grpc.Status) -> Status:
    ((key, value),) = status.trailing_metadata or ()
    assert key == "grpc-status-details-bin"
    return Status.FromString(value)


def unpacked(status: grpc.Status, kind: Any) -> Any:
    message = kind()
    return message if any(detail.Unpack(message) for detail in details(status).details) else None


@pytest.mark.parametrize("reason", REASONS, ids=ErrorReason.Name)
def test_every_reason_has_the_status_that_its_comment_in_the_proto_names(reason: ErrorReason.ValueType) -> None:
    comment = re.search(rf"((?: *//.*\n)+) *{ErrorReason.Name(reason)} =", PROTO.read_text(encoding="utf-8"))
    assert comment is not None
    assert code_of(reason).name == comment[1].strip(" /").partition(".")[0]


def test_no_reason_is_no_status() -> None:
    with pytest.raises(KeyError):
        code_of(ErrorReason.ERROR_REASON_UNSPECIFIED)


def test_every_error_class_has_a_reason_in_the_table() -> None:
    classes = [value for value in vars(errors).values() if isinstance(value, type) and issubclass(value, SiraError)]
    assert len(classes) > 20
    for error in classes:
        assert isinstance(code_of(error.reason), grpc.StatusCode)


def test_an_error_is_told_with_reason_domain_and_metadata() -> None:
    status = status_of(ServiceNotFound("no service namespaces/a/services/b", metadata={"name": "b"}))
    assert status.code is grpc.StatusCode.NOT_FOUND
    assert status.details == "no service namespaces/a/services/b"
    assert details(status).code == grpc.StatusCode.NOT_FOUND.value[0]
    assert details(status).message == status.details
    info = unpacked(status, ErrorInfo)
    assert (info.reason, info.domain, dict(info.metadata)) == ("SERVICE_NOT_FOUND", "sira", {"name": "b"})
    assert unpacked(status, RetryInfo) is None
    assert unpacked(status, BadRequest) is None


def test_when_to_try_again_is_told() -> None:
    retry = unpacked(status_of(LimitExceeded("too much", retry_after=0.25)), RetryInfo)
    assert retry.retry_delay.ToMilliseconds() == 250


def test_every_violation_is_told() -> None:
    status = status_of(
        InvalidField([FieldViolation("endpoints[3].port", "must be set"), FieldViolation("name", "odd")])
    )
    assert status.code is grpc.StatusCode.INVALID_ARGUMENT
    assert status.details == "endpoints[3].port: must be set; name: odd"
    violations = unpacked(status, BadRequest).field_violations
    assert [(v.field, v.description) for v in violations] == [("endpoints[3].port", "must be set"), ("name", "odd")]
    assert "violations_left_out" not in unpacked(status, ErrorInfo).metadata


def test_an_error_fits_into_what_clients_accept() -> None:
    violations = [FieldViolation(f"endpoints[{index}].name", "é" * 300) for index in range(500)]
    error = InvalidField(violations)
    error.metadata["name"] = "x" * 5000
    status = status_of(error)
    assert len(status.details.encode()) <= MAX_MESSAGE_BYTES
    told = unpacked(status, BadRequest).field_violations
    assert 0 < len(told) < 500
    assert unpacked(status, ErrorInfo).metadata["violations_left_out"] == str(500 - len(told))
    # Percent-encoded, and in base64: the most that gRPC makes of them.
    assert len(status.details.encode()) * 3 + details(status).ByteSize() * 4 / 3 < TRAILER_BYTES


def test_text_that_is_no_unicode_does_not_get_in_the_way() -> None:
    assert status_of(SiraError("\ud800" * 1000)).details.endswith("...")
    assert status_of(SiraError("a\ud800")).details == "a?"
