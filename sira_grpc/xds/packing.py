"""Packing of the messages that xDS carries as `google.protobuf.Any`."""

from __future__ import annotations

from google.protobuf.any_pb2 import Any
from google.protobuf.message import Message


def packed(message: Message) -> Any:
    """Returns a message packed; the same message always gives the same bytes."""
    into = Any()
    into.Pack(message, deterministic=True)
    return into
