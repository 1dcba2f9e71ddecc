"""Reads what google.rpc.Status says beyond code and message, without depending on its generated code.

The messages are declared here, by number, in a descriptor pool of their own: so they clash with no other copy of
google.rpc in the process.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

KEY = "grpc-status-details-bin"
"""The trailing metadata that holds the status."""

_PACKAGE = "sira_client.status"
_SCALARS = {
    "int32": descriptor_pb2.FieldDescriptorProto.TYPE_INT32,
    "int64": descriptor_pb2.FieldDescriptorProto.TYPE_INT64,
    "string": descriptor_pb2.FieldDescriptorProto.TYPE_STRING,
    "bytes": descriptor_pb2.FieldDescriptorProto.TYPE_BYTES,
}
_MESSAGES = {  # a trailing * means repeated; a map is on the wire a repeated message of key and value
    "Any": ["type_url 1 string", "value 2 bytes"],
    "Status": ["details 3 Any*"],
    "Entry": ["key 1 string", "value 2 string"],
    "ErrorInfo": ["reason 1 string", "domain 2 string", "metadata 3 Entry*"],
    "Violation": ["field 1 string", "description 2 string"],
    "BadRequest": ["field_violations 1 Violation*"],
    "Duration": ["seconds 1 int64", "nanos 2 int32"],
    "RetryInfo": ["retry_delay 1 Duration"],
}


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field that breaks one rule."""

    field: str
    rule: str


@dataclass(slots=True)
class StatusDetails:
    """What a status says beyond code and message.

    Attributes:
        reason: ErrorInfo.reason, such as `SERVICE_NOT_FOUND`; empty if there is none.
        metadata: ErrorInfo.metadata.
        violations: BadRequest.field_violations.
        retry_after: RetryInfo.retry_delay in seconds; None if there is none.
    """

    reason: str = ""
    metadata: dict[str, str] = field(default_factory=dict)
    violations: tuple[FieldViolation, ...] = ()
    retry_after: float | None = None


def _declare() -> dict[str, type[Any]]:
    file = descriptor_pb2.FileDescriptorProto(name="sira_client/status.proto", package=_PACKAGE, syntax="proto3")
    for name, fields in _MESSAGES.items():
        declared = file.message_type.add(name=name)
        for text in fields:
            field_name, number, kind = text.split()
            repeated = kind.endswith("*")
            one = declared.field.add(name=field_name, number=int(number), label=3 if repeated else 1)
            if kind in _SCALARS:
                one.type = _SCALARS[kind]
            else:
                one.type = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
                one.type_name = f".{_PACKAGE}.{kind.rstrip('*')}"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")) for name in _MESSAGES
    }


_CLASSES = _declare()


def decode(serialized: bytes) -> StatusDetails:
    """Decodes a serialized google.rpc.Status. What cannot be read counts as not there: the code still says enough."""
    found = StatusDetails()
    try:
        for packed in _CLASSES["Status"].FromString(serialized).details:
            _take(found, packed.type_url.rpartition("/")[2], packed.value)
    except message.DecodeError:
        return StatusDetails()
    return found


def _take(found: StatusDetails, kind: str, value: bytes) -> None:
    match kind:
        case "google.rpc.ErrorInfo":
            info = _CLASSES["ErrorInfo"].FromString(value)
            found.reason = info.reason
            found.metadata = {entry.key: entry.value for entry in info.metadata}
        case "google.rpc.BadRequest":
            bad = _CLASSES["BadRequest"].FromString(value)
            found.violations = tuple(FieldViolation(v.field, v.description) for v in bad.field_violations)
        case "google.rpc.RetryInfo":
            delay = _CLASSES["RetryInfo"].FromString(value).retry_delay
            found.retry_after = delay.seconds + delay.nanos / 1e9
