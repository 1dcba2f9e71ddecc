"""Failures: one line, and the exit code that goes with it."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
import pytest
import typer
from google.protobuf import any_pb2
from google.protobuf.empty_pb2 import Empty
from google.protobuf.message import Message
from google.rpc.code_pb2 import Code
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status import rpc_status

from sira_grpc.cli.exits import STATUS_EXITS, ExitCode
from sira_grpc.cli.failures import Failure, explain_rpc, reporting
from sira_grpc.errors import ConfigError, StoreCorrupt

Captured = pytest.CaptureFixture[str]


class Refusing(grpc.GenericRpcHandler):
    """Refuses every call with the status that it was given last."""

    def __init__(self) -> None:
        self.status = Status()

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any]:
        def refuse(request: bytes, context: grpc.ServicerContext) -> bytes:
            context.abort_with_status(rpc_status.to_status(self.status))

        return grpc.unary_unary_rpc_method_handler(refuse)


class Server:
    """A server that refuses."""

    def __init__(self, handler: Refusing, channel: grpc.Channel) -> None:
        self._handler = handler
        self._channel = channel

    def refuse(self, code: int, message: str, *details: Message) -> grpc.RpcError:
        packed = []
        for detail in details:
            packed.append(any_pb2.Any())
            packed[-1].Pack(detail)
        self._handler.status = Status(code=code, message=message, details=packed)
        call: Any = self._channel.unary_unary("/x/Y", request_serializer=Empty.SerializeToString)
        with pytest.raises(grpc.RpcError) as refused:
            call(Empty(), timeout=10)
        return refused.value


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    handler = Refusing()
    with ThreadPoolExecutor(1) as threads:
        server = grpc.server(threads, handlers=[handler])
        port = server.add_insecure_port("127.0.0.1:0")
        server.start()
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield Server(handler, channel)
        server.stop(None).wait()


@pytest.mark.parametrize("code", [each for each in grpc.StatusCode if each is not grpc.StatusCode.OK])
def test_every_status_has_an_exit_code(server: Server, code: grpc.StatusCode) -> None:
    number, _ = code.value
    failure = explain_rpc(server.refuse(number, "because", ErrorInfo(reason="SOME_REASON", domain="sira")))
    assert str(failure) == "because [SOME_REASON]"
    assert failure.code is STATUS_EXITS.get(code.name, ExitCode.ERROR)


def test_without_a_reason_the_status_is_named(server: Server) -> None:
    assert str(explain_rpc(server.refuse(Code.NOT_FOUND, "gone"))) == "gone [NOT_FOUND]"


def test_violations_are_named_once(server: Server) -> None:
    violations = BadRequest(
        field_violations=[
            BadRequest.FieldViolation(field="endpoint.port", description="must be above 0"),
            BadRequest.FieldViolation(field="endpoint.weight", description="must be at most 10000"),
        ]
    )
    refused = server.refuse(Code.INVALID_ARGUMENT, "endpoint.port: must be above 0", violations, RetryInfo())
    assert str(explain_rpc(refused)) == (
        "endpoint.port: must be above 0; endpoint.weight: must be at most 10000 [INVALID_ARGUMENT]"
    )


def test_a_kernel_that_is_not_there_is_named() -> None:
    with grpc.insecure_channel("127.0.0.1:1") as channel:
        call: Any = channel.unary_unary("/x/Y", request_serializer=Empty.SerializeToString)
        with pytest.raises(grpc.RpcError) as refused:
            call(Empty(), timeout=10)
    failure = explain_rpc(refused.value, "127.0.0.1:1")
    assert failure.code is ExitCode.UNAVAILABLE
    assert str(failure).startswith("cannot reach a kernel at 127.0.0.1:1: ")
    assert "last error" not in str(failure)


def test_a_silent_kernel_is_a_deadline(server: Server) -> None:
    failure = explain_rpc(server.refuse(Code.DEADLINE_EXCEEDED, "Deadline Exceeded"))
    assert failure.code is ExitCode.DEADLINE
    assert "--timeout" in str(failure)


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (Failure("no", ExitCode.CONFLICT), ExitCode.CONFLICT, "sira: no\n"),
        (ConfigError("server.tls: no"), ExitCode.USAGE, "sira: server.tls: no\n"),
        (StoreCorrupt("the file is damaged"), ExitCode.ERROR, "sira: the file is damaged\n"),
        (PermissionError(13, "Permission denied", "/x"), ExitCode.ERROR, "sira: [Errno 13] Permission denied: '/x'\n"),
        (KeyboardInterrupt(), ExitCode.INTERRUPTED, ""),
    ],
)
def test_what_a_command_fails_with_is_reported(
    capsys: Captured, error: BaseException, code: ExitCode, line: str
) -> None:
    with pytest.raises(typer.Exit) as ended, reporting():
        raise error
    assert ended.value.exit_code == code
    assert capsys.readouterr() == ("", line)


def test_a_failed_call_is_reported(capsys: Captured, server: Server) -> None:
    error = server.refuse(Code.RESOURCE_EXHAUSTED, "too many", ErrorInfo(reason="LIMIT_EXCEEDED"))
    with pytest.raises(typer.Exit) as ended, reporting():
        raise error
    assert ended.value.exit_code == ExitCode.LIMIT
    assert capsys.readouterr().err == "sira: too many [LIMIT_EXCEEDED]\n"


def test_a_defect_passes_through() -> None:
    with pytest.raises(ZeroDivisionError), reporting():
        raise ZeroDivisionError
