"""Writing and reading through field masks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, TypeVar

from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from sira_grpc.errors import InvalidFieldMask

M = TypeVar("M", bound=Message)

Tree = dict[str, "Tree | None"]
"""Field names; None for one that is meant with all that is in it."""


def check_paths(mask: FieldMask, message: Message, field: str) -> None:
    """Refuses a mask with paths that the message does not have.

    Raises:
        InvalidFieldMask: naming the first such path.
    """
    descriptor: Any = message.DESCRIPTOR  # the stubs of protobuf disagree on which descriptor this is
    for path in dict.fromkeys(mask.paths):
        if not FieldMask(paths=[path]).IsValidForDescriptor(descriptor):
            raise InvalidFieldMask(f"{field}: {descriptor.name} has no field {path!r}")


def project(message: M, mask: FieldMask) -> M:
    """Returns the masked fields of a message; all of it for an empty mask."""
    if not mask.paths:
        return message
    result = type(message)()
    _write(result, message, _tree(mask.paths))
    return result


def overwrite(target: Message, source: Message, mask: FieldMask, writable: Iterable[str]) -> None:
    """Writes the masked fields of source into target, and clears those that source does not have.

    An empty mask stands for all writable fields.

    Raises:
        InvalidFieldMask: a path is not there, or may not be written.
    """
    allowed = set(writable)
    check_paths(mask, target, "update_mask")
    for path in mask.paths:
        if path.split(".")[0] not in allowed:
            raise InvalidFieldMask(f"update_mask: {path!r} may not be written; {', '.join(sorted(allowed))} may")
    _write(target, source, _tree(mask.paths or allowed))


def _tree(paths: Iterable[str]) -> Tree:
    tree: Tree = {}
    for path in sorted(set(paths), key=lambda path: path.count(".")):
        *parents, last = path.split(".")
        node = tree
        for parent in parents:
            child = node.setdefault(parent, {})
            if child is None:  # a shorter path has named all of it
                break
            node = child
        else:
            node[last] = None
    return tree


def _write(target: Message, source: Message, tree: Tree) -> None:
    """Replaces the fields of the tree.

    Not FieldMask.MergeMessage, which leaves alone what a deep path names when the source lacks the message around it.
    """
    kept = type(source)()
    kept.CopyFrom(source)
    for field in source.DESCRIPTOR.fields:
        if tree.get(field.name, {}) is not None:
            kept.ClearField(field.name)
    for name, part in tree.items():
        if part is None:
            target.ClearField(name)
        elif source.HasField(name) or target.HasField(name):
            _write(getattr(target, name), getattr(source, name), part)
    target.MergeFrom(kept)
