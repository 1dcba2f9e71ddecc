from __future__ import annotations

import errno
import os
import socket

import pytest
from sira.registry.v1.health_check_pb2 import HealthState

from sira_grpc.probes.causes import connection_failed


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (OSError(errno.ECONNREFUSED, ""), "connection refused"),
        (OSError(errno.ECONNRESET, ""), "connection reset"),
        (OSError(errno.EHOSTUNREACH, ""), "host unreachable"),
        (OSError(errno.ENETUNREACH, ""), "network unreachable"),
        (OSError(errno.ETIMEDOUT, ""), "connection timed out"),
        (socket.gaierror(socket.EAI_AGAIN, ""), "host name cannot be resolved"),
        (OSError(errno.EACCES, ""), "connection failed: Permission denied"),
        (OSError("no number"), "connection failed"),
    ],
)
def test_causes_are_short(error: OSError, cause: str) -> None:
    result = connection_failed(error)
    assert (result.state, result.cause) == (HealthState.HEALTH_STATE_NOT_SERVING, cause)


@pytest.mark.parametrize("number", [errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL])
def test_what_this_machine_lacks_is_no_evidence(number: int) -> None:
    result = connection_failed(OSError(number, os.strerror(number)))
    assert (result.state, result.authoritative) == (HealthState.HEALTH_STATE_UNKNOWN, False)
