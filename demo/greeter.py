"""The service of the demo, `demo.v1.Greeter`: its one method answers a name with a greeting and who greets."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import grpc
from google.protobuf.wrappers_pb2 import StringValue

SERVICE = "demo.v1.Greeter"
Greet = Callable[[StringValue, "grpc.aio.ServicerContext[StringValue, StringValue]"], Awaitable[StringValue]]


def handler(greet: Greet) -> grpc.GenericRpcHandler:
    """What a server needs to serve it: rpc Greet(StringValue) returns (StringValue)."""
    method = grpc.unary_unary_rpc_method_handler(
        greet, request_deserializer=StringValue.FromString, response_serializer=StringValue.SerializeToString
    )
    return grpc.method_handlers_generic_handler(SERVICE, {"Greet": method})


def stub(channel: grpc.aio.Channel) -> grpc.aio.UnaryUnaryMultiCallable[Any, Any]:
    """What a caller needs to call it."""
    return channel.unary_unary(
        f"/{SERVICE}/Greet",
        request_serializer=StringValue.SerializeToString,
        response_deserializer=StringValue.FromString,
    )


def greeting(name: str, greeter: str) -> StringValue:
    """The greeting for a name."""
    return StringValue(value=f"hello {name}, this is {greeter}")


def who(answer: StringValue) -> str:
    """Who gave a greeting."""
    return answer.value.rpartition(" ")[2]
