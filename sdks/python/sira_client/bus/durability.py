"""What acknowledged records survive, in words."""

from __future__ import annotations

from typing import Literal

from sira.bus.v1 import topic_pb2

Durability = Literal["disk", "memory"]
"""`disk`: a crash of the kernel and of its machine. `memory`: neither, it is gone when the kernel ends."""

_DISK = topic_pb2.Durability.DURABILITY_DISK
_MEMORY = topic_pb2.Durability.DURABILITY_MEMORY


def durability_name(value: topic_pb2.Durability.ValueType) -> Durability:
    """The durability in words. What is not known counts as the weaker."""
    return "disk" if value == _DISK else "memory"


def durability_value(name: Durability) -> topic_pb2.Durability.ValueType:
    """The durability as a value of its message.

    Raises:
        ValueError: there is none of that name.
    """
    match name:
        case "disk":
            return _DISK
        case "memory":
            return _MEMORY
    raise ValueError(f"durability: {name!r} must be 'disk' or 'memory'")
