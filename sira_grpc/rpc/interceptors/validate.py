"""Whether requests keep the rules that the protos declare."""

from __future__ import annotations

from collections.abc import Iterable

import protovalidate
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from sira_grpc.errors import FieldViolation, InvalidField
from sira_grpc.rpc.call import Call
from sira_grpc.rpc.interceptors.interceptor import Interceptor

_OURS = "sira."


class Validate(Interceptor):
    """Checks each message against the buf.validate rules of its type."""

    def __init__(self) -> None:
        self._validator = protovalidate.Validator()
        self._collect = self._validator.collect_violations

    def warm(self, services: Iterable[str]) -> None:
        """Compiles the rules of every request of our services, which would make the first calls slow.

        Raises:
            protovalidate.CompilationError: a rule in a proto is wrong.
        """
        pool = descriptor_pool.Default()
        for service in services:
            if service.startswith(_OURS):
                for method in pool.FindServiceByName(service).methods:
                    self._collect(message_factory.GetMessageClass(method.input_type)())

    def request(self, call: Call, message: Message) -> None:
        """Refuses a message that breaks a rule, naming every field and rule."""
        if not call.method.service.startswith(_OURS):
            return
        violations = self._collect(message)
        if violations:
            raise InvalidField([_violation(violation.proto) for violation in violations])


def _violation(violation: protovalidate.ViolationPb) -> FieldViolation:
    return FieldViolation(_path(violation.field) or "request", violation.message or violation.rule_id)


def _path(path: protovalidate.FieldPathPb | None) -> str:
    """A field path as people write it: `endpoints[3].metadata["zone"]`."""
    return ".".join(_element(element) for element in path.elements) if path else ""


def _element(element: protovalidate.FieldPathElementPb) -> str:
    if element.subscript is None:
        return element.field_name
    key = element.subscript.value
    return f'{element.field_name}["{key}"]' if isinstance(key, str) else f"{element.field_name}[{key}]"
