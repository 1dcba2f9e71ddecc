"""Calls for testing one interceptor by itself."""

from __future__ import annotations

from typing import Any, cast

from google.protobuf.message import Message

from sira_grpc.rpc.call import Call, Context, Method


def made_call(*, service: str = "sira.registry.v1.ResolverService", streams: bool = False, caller: str = "") -> Call:
    """A call that has no connection: only for interceptors that do not look at it."""
    method = Method(f"{service}/Do", service, streams, deserialize=_unused, serialize=_unused)
    call = Call(method, cast(Context, None))
    call.caller = caller
    return call


def _unused(message: Any) -> Any:
    assert isinstance(message, Message)
    return message
