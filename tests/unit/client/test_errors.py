from __future__ import annotations

import pickle

import grpc
import pytest
import sira_client
from google.rpc import error_details_pb2, status_pb2
from hypothesis import given
from hypothesis import strategies as st
from sira_client import FieldViolation, InvalidArgumentError, NotFoundError, SiraError, UnavailableError
from sira_client.errors import from_rpc_error
from sira_client.status_details import KEY, StatusDetails, decode

TEXT = st.text(max_size=20)


def rpc_error(code: grpc.StatusCode, details: bytes | None = None) -> grpc.aio.AioRpcError:
    trailing = grpc.aio.Metadata() if details is None else grpc.aio.Metadata((KEY, details))
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(("a", "b")), trailing, "what happened", "debug")


@given(TEXT, st.dictionaries(TEXT, TEXT), st.lists(st.tuples(TEXT, TEXT)), st.integers(0, 10**12))
def test_what_a_kernel_says_is_read_back(
    reason: str, metadata: dict[str, str], violations: list[tuple[str, str]], nanos: int
) -> None:
    status = status_pb2.Status(code=3, message="what happened")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain="sira", metadata=metadata))
    bad = error_details_pb2.BadRequest()
    for field, rule in violations:
        bad.field_violations.add(field=field, description=rule)
    status.details.add().Pack(bad)
    retry = error_details_pb2.RetryInfo()
    retry.retry_delay.FromNanoseconds(nanos)
    status.details.add().Pack(retry)
    status.details.add().Pack(error_details_pb2.Help())
    found = decode(status.SerializeToString())
    assert (found.reason, found.metadata) == (reason, metadata)
    assert found.violations == tuple(FieldViolation(*violation) for violation in violations)
    assert found.retry_after == pytest.approx(nanos / 1e9)


@given(st.binary())
def test_what_cannot_be_read_is_never_an_error_of_its_own(junk: bytes) -> None:
    assert isinstance(decode(junk), StatusDetails)


def test_half_a_detail_counts_as_none() -> None:
    status = status_pb2.Status()
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="X"))
    status.details.add(type_url="type.googleapis.com/google.rpc.RetryInfo", value=b"\xff")
    assert decode(status.SerializeToString()) == StatusDetails()


@pytest.mark.parametrize("code", [code for code in grpc.StatusCode if code is not grpc.StatusCode.OK])
def test_each_status_has_its_class(code: grpc.StatusCode) -> None:
    error = from_rpc_error(rpc_error(code))
    assert error.code() is error.status is code
    name = "".join(part.capitalize() for part in code.name.split("_")) + "Error"
    assert type(error) is getattr(sira_client, name, SiraError)


def test_an_error_says_all_it_knows() -> None:
    status = status_pb2.Status(code=5)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="SERVICE_NOT_FOUND", metadata={"name": "x"}))
    error = from_rpc_error(rpc_error(grpc.StatusCode.NOT_FOUND, status.SerializeToString()))
    assert isinstance(error, NotFoundError)
    assert (error.reason, error.metadata, error.violations, error.retry_after) == (
        "SERVICE_NOT_FOUND",
        {"name": "x"},
        (),
        None,
    )
    assert str(error) == "NOT_FOUND: what happened (SERVICE_NOT_FOUND)"
    assert repr(error) == "<NotFoundError NOT_FOUND: what happened (SERVICE_NOT_FOUND)>"
    assert error.details() == error.message == "what happened"
    assert error.initial_metadata() == grpc.aio.Metadata(("a", "b"))
    assert error.debug_error_string() == "debug"
    assert from_rpc_error(error) is error


def test_an_error_that_no_kernel_sent_has_no_reason() -> None:
    error = from_rpc_error(rpc_error(grpc.StatusCode.UNAVAILABLE))
    assert isinstance(error, UnavailableError)
    assert error.reason == ""
    assert str(error) == "UNAVAILABLE: what happened"


def test_an_error_can_be_pickled() -> None:
    details = StatusDetails("INVALID_FIELD", {"a": "b"}, (FieldViolation("port", "must be above 0"),), 1.5)
    error = pickle.loads(pickle.dumps(InvalidArgumentError("no", details=details)))
    assert type(error) is InvalidArgumentError
    assert (error.message, error.reason, error.metadata, error.violations, error.retry_after) == (
        "no",
        "INVALID_FIELD",
        {"a": "b"},
        (FieldViolation("port", "must be above 0"),),
        1.5,
    )
