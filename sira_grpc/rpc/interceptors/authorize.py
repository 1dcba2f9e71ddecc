"""Who may call what."""

from __future__ import annotations

from typing import Protocol

from sira_grpc.config import Access
from sira_grpc.errors import PermissionDenied, Unauthenticated
from sira_grpc.rpc.call import Call
from sira_grpc.rpc.interceptors.interceptor import Interceptor

READING = frozenset(
    {
        "envoy.service.status.v3.ClientStatusDiscoveryService",
        "grpc.channelz.v1.Channelz",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "sira.kernel.v1.KernelService",
        "sira.registry.v1.ResolverService",
    }
)
"""Services that change nothing. Every other one writes."""


class Authorizer(Protocol):
    """Decides whether a call may go on."""

    def authorize(self, call: Call) -> None:
        """Returns if it may. Called once a call, on the event loop: must not block.

        Raises:
            Unauthenticated: the caller has no identity, and one is needed.
            PermissionDenied: the caller may not call this method.
        """


class AnonymousRules:
    """Lets callers with an identity do everything, and the others what the configuration says.

    Args:
        anonymous: what callers without identity may do.
    """

    def __init__(self, anonymous: Access) -> None:
        self._anonymous = anonymous

    def authorize(self, call: Call) -> None:
        """See Authorizer."""
        if call.identity or self._anonymous == "write":
            return
        if self._anonymous == "none":
            raise Unauthenticated("a client certificate is needed", metadata={"method": call.method.name})
        if call.method.service not in READING:
            raise PermissionDenied(
                f"callers without identity may only read; {call.method.name} writes",
                metadata={"method": call.method.name},
            )


class Authorize(Interceptor):
    """Asks an authorizer about every call."""

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def enter(self, call: Call) -> None:
        """Refuses what the authorizer refuses."""
        self._authorizer.authorize(call)
