"""What went wrong with a probe, in a few words for people."""

from __future__ import annotations

import errno
import os
import socket
import ssl

from sira.registry.v1.health_check_pb2 import HealthState

from sira_grpc.registry.probe_api import ProbeResult

_OWN_LIMITS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
"""Errors that say that this machine has run out of something."""

_BY_ERRNO = {
    errno.ECONNREFUSED: "connection refused",
    errno.ECONNRESET: "connection reset",
    errno.EPIPE: "connection reset",
    errno.ECONNABORTED: "connection reset",
    errno.EHOSTUNREACH: "host unreachable",
    errno.ENETUNREACH: "network unreachable",
    errno.ETIMEDOUT: "connection timed out",
}


def good(cause: str) -> ProbeResult:
    """The endpoint takes calls, as far as can be seen from outside."""
    return ProbeResult(HealthState.HEALTH_STATE_SERVING, cause)


def bad(cause: str) -> ProbeResult:
    """The probe failed, which counts towards the `fall` threshold."""
    return ProbeResult(HealthState.HEALTH_STATE_NOT_SERVING, cause)


def no_answer(timeout: float) -> ProbeResult:
    """The time was over."""
    return bad(f"no answer within {timeout:g}s")


def connection_failed(error: OSError) -> ProbeResult:
    """A connection could not be made, or broke. What this machine lacks is no evidence against the endpoint."""
    if error.errno in _OWN_LIMITS and not isinstance(error, socket.gaierror):
        return ProbeResult(HealthState.HEALTH_STATE_UNKNOWN, f"the kernel cannot connect: {os.strerror(error.errno)}")
    if isinstance(error, ssl.SSLCertVerificationError):
        return bad(f"certificate not trusted: {error.verify_message}")
    if isinstance(error, ssl.SSLError):
        return bad("TLS handshake failed")
    if isinstance(error, socket.gaierror):
        return bad("host name cannot be resolved")
    if error.errno is None:
        return bad("connection failed")
    return bad(_BY_ERRNO.get(error.errno) or f"connection failed: {os.strerror(error.errno)}")
