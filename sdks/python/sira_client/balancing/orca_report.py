"""Reads what an endpoint reports of its load, without depending on xDS's generated code.

The message is declared here, by number, in a descriptor pool of its own: so it clashes with no other copy in the
process. Of xds.data.orca.v3.OrcaLoadReport it has the fields that weights are made of.

Source: gRFC A51, https://github.com/grpc/proposal/blob/master/A51-custom-backend-metrics.md
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory

KEY = "sira-load-metrics-bin"
"""The trailing metadata that holds the report of an answer: gRPC keeps `endpoint-load-metrics-bin`, the usual one, to
itself."""

_DOUBLE, _UINT64 = descriptor_pb2.FieldDescriptorProto.TYPE_DOUBLE, descriptor_pb2.FieldDescriptorProto.TYPE_UINT64
_FIELDS = (
    ("cpu_utilization", 1, _DOUBLE),
    ("rps", 3, _UINT64),
    ("rps_fractional", 6, _DOUBLE),
    ("eps", 7, _DOUBLE),
    ("application_utilization", 9, _DOUBLE),
)


@dataclass(frozen=True, slots=True)
class LoadReport:
    """What an endpoint said.

    Attributes:
        utilization: of what bounds it, 1 when it is full and more when it is overloaded: of the application, or else of
            the CPU.
        qps: calls that it serves a second.
        eps: calls a second that fail.
    """

    utilization: float
    qps: float
    eps: float


def decode(serialized: bytes) -> LoadReport | None:
    """The report; None if it is none, as the trailer of an endpoint may be anything."""
    report = _REPORT()
    try:
        report.ParseFromString(serialized)
    except message.DecodeError:
        return None
    return LoadReport(
        report.application_utilization if report.application_utilization > 0 else report.cpu_utilization,
        report.rps_fractional if report.rps_fractional > 0 else float(report.rps),
        report.eps,
    )


def _declare() -> type[Any]:
    file = descriptor_pb2.FileDescriptorProto(name="orca.proto", package="sira_client.orca", syntax="proto3")
    declared = file.message_type.add(name="LoadReport")
    for name, number, kind in _FIELDS:
        declared.field.add(
            name=name, number=number, type=kind, label=descriptor_pb2.FieldDescriptorProto.LABEL_OPTIONAL
        )
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("sira_client.orca.LoadReport"))


_REPORT = _declare()
