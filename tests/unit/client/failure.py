"""What a call to the kernel is to fail with, told as a kernel tells it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.any_pb2 import Any as PackedAny
from google.rpc.error_details_pb2 import BadRequest, ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_status.rpc_status import to_status

Context = grpc.aio.ServicerContext[Any, Any]


@dataclass(frozen=True)
class Failure:
    """What a call is to fail with."""

    code: grpc.StatusCode
    reason: str = ""
    message: str = "as the test wants it"
    retry_after_ms: int = 0
    violation: tuple[str, str] | None = None
    fact: tuple[str, str] = ("key", "value")

    async def abort(self, context: Context) -> None:
        details: list[PackedAny] = []
        if self.reason:
            details.append(_pack(ErrorInfo(reason=self.reason, domain="sira", metadata=dict([self.fact]))))
        if self.retry_after_ms:
            retry = RetryInfo()
            retry.retry_delay.FromMilliseconds(self.retry_after_ms)
            details.append(_pack(retry))
        if self.violation:
            field, rule = self.violation
            details.append(_pack(BadRequest(field_violations=[{"field": field, "description": rule}])))
        status = Status(code=self.code.value[0], message=self.message, details=details)
        await context.abort_with_status(to_status(status))


def _pack(message: Any) -> PackedAny:
    packed = PackedAny()
    packed.Pack(message)
    return packed
