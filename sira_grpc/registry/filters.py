"""List filters: a conjunction of comparisons, a subset of https://google.aip.dev/160."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

from google.protobuf.message import Message

from sira_grpc.errors import InvalidFilter

_TERM = re.compile(
    r"""\s*(?P<path>[A-Za-z_][\w.-]*)\s*(?P<op>!=|=|:)\s*(?:"(?P<quoted>(?:[^"\\]|\\.)*)"|(?P<bare>[^\s"]+))\s*"""
)
_AND = re.compile(r"AND\s")

Predicate = Callable[[Message], bool]


def compile_filter(text: str, message: type[Message]) -> Predicate:
    """Returns a predicate over messages of a type. An empty filter matches all.

    Raises:
        InvalidFilter: it cannot be read, or names a field that the type does not have.
    """
    terms: list[Predicate] = []
    position = 0
    text = text.strip()
    while position < len(text):
        if terms:
            joint = _AND.match(text, position)
            if joint is None:
                raise InvalidFilter(f"filter: expected AND at character {position}: {text[position:][:40]!r}")
            position = joint.end()
        match = _TERM.match(text, position)
        if match is None:
            raise InvalidFilter(f'filter: expected `field = "value"` at character {position}: {text[position:][:40]!r}')
        terms.append(_term(match, message))
        position = match.end()
    return lambda resource: all(term(resource) for term in terms)


def _term(match: re.Match[str], message: type[Message]) -> Predicate:
    quoted, wanted = match["quoted"], match["bare"]
    if quoted is not None:
        wanted = re.sub(r"\\(.)", r"\1", quoted)
    read = _reader(match["path"], message)
    operator = match["op"]
    if operator == ":":
        return lambda resource: _has(read(resource), wanted)
    if operator == "=":
        return lambda resource: _text(read(resource)) == wanted
    return lambda resource: _text(read(resource)) != wanted


def _reader(path: str, message: type[Message]) -> Callable[[Message], Any]:
    """Returns a function that reads a field path: messages by dots, the last step possibly into a map."""
    steps: list[Any] = []  # field descriptors, of which the stubs of protobuf know two kinds
    descriptor: Any = message.DESCRIPTOR
    parts = path.split(".")
    for i, part in enumerate(parts):
        field = descriptor.fields_by_name.get(part)
        if field is None:
            raise InvalidFilter(f"filter: {descriptor.name} has no field {part!r}")
        steps.append(field)
        if field.message_type is None or i == len(parts) - 1:
            if i < len(parts) - 1:
                raise InvalidFilter(f"filter: {part!r} is not a message")
            break
        if field.message_type.GetOptions().map_entry:
            key = ".".join(parts[i + 1 :])
            return lambda resource: dict(_walk(resource, steps)).get(key, "")
        if field.is_repeated:
            raise InvalidFilter(f"filter: {part!r} is a list of messages")
        descriptor = field.message_type
    leaf = steps[-1]
    if leaf.enum_type is not None:
        return lambda resource: leaf.enum_type.values_by_number[_walk(resource, steps)].name
    return lambda resource: _walk(resource, steps)


def _walk(resource: Message, steps: list[Any]) -> Any:
    value: Any = resource
    for step in steps:
        value = getattr(value, step.name)
    return value


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _has(value: Any, wanted: str) -> bool:
    if isinstance(value, str):
        return wanted in value
    try:
        return any(_text(item) == wanted for item in value)
    except TypeError:
        return _text(value) == wanted
