"""Writing and reading through field masks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from sira_grpc.errors import InvalidFieldMask

M = TypeVar("M", bound=Message)


def check_paths(mask: FieldMask, message: Message, field: str) -> None:
    """Refuses a mask with paths that the message does not have.

    Raises:
        InvalidFieldMask: naming the first such path.
    """
    descriptor: Any = message.DESCRIPTOR  # the stubs of protobuf disagree on which descriptor this is
    for path in mask.paths:
        if not FieldMask(paths=[path]).IsValidForDescriptor(descriptor):
            raise InvalidFieldMask(f"{field}: {descriptor.name} has no field {path!r}")


def project(message: M, mask: FieldMask) -> M:
    """Returns the masked fields of a message; all of it for an empty mask."""
    if not mask.paths:
        return message
    result = type(message)()
    mask.MergeMessage(message, result, True, True)
    return result


def overwrite(target: M, source: M, mask: FieldMask, writable: Iterable[str]) -> None:
    """Writes the masked fields of source into target; all writable ones for an empty mask.

    Raises:
        InvalidFieldMask: a path is not there, or may not be written.
    """
    allowed = set(writable)
    check_paths(mask, target, "update_mask")
    for path in mask.paths:
        if path.split(".")[0] not in allowed:
            raise InvalidFieldMask(f"update_mask: {path!r} may not be written; {', '.join(sorted(allowed))} may")
    if any("." in path for path in mask.paths):
        # MergeMessage replaces what a deep path names and leaves its neighbours.
        mask.MergeMessage(source, target, True, True)
        return
    for name in mask.paths or sorted(allowed):
        target.ClearField(name)
    kept = type(source)()
    FieldMask(paths=list(mask.paths) or sorted(allowed)).MergeMessage(source, kept)
    target.MergeFrom(kept)
