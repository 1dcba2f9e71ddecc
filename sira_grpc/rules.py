"""The rules that the protos declare for their fields (buf.validate), checked."""

from __future__ import annotations

import protovalidate
from google.protobuf.message import Message

from sira_grpc.errors import FieldViolation, InvalidField

_validator = protovalidate.Validator()


def check_rules(message: Message, *, within: str = "") -> None:
    """Checks a message and all that is in it against the rules of its proto.

    Args:
        message: what to check.
        within: the field of the request that holds the message, for the names in the error; empty for the request.

    Raises:
        InvalidField: with each field that breaks a rule, and the rule.
    """
    violations = _validator.collect_violations(message)
    if violations:
        prefix = f"{within}." if within else ""
        raise InvalidField([FieldViolation(prefix + _path(v), v.proto.message or v.proto.rule_id) for v in violations])


def _path(violation: protovalidate.Violation) -> str:
    path = ""
    field = violation.proto.field
    for element in field.elements if field is not None else ():
        path += f".{element.field_name}" if path else element.field_name
        subscript = element.subscript
        if subscript is not None:
            path += f"[{subscript.value!r}]"
    return path
