"""Who may call what."""

from __future__ import annotations

from typing import Protocol

from google.protobuf.message import Message

from sira_grpc.config import Access
from sira_grpc.errors import PermissionDenied, Unauthenticated
from sira_grpc.rpc.call import Call
from sira_grpc.rpc.interceptors.access import PEERS, members_only, rule_of
from sira_grpc.rpc.interceptors.interceptor import Interceptor


class Authorizer(Protocol):
    """Decides whether a call may go on. Asked on the event loop: must not block."""

    def authorize(self, call: Call) -> None:
        """Returns if it may. Called once a call.

        Raises:
            Unauthenticated: the caller has no identity, and one is needed.
            PermissionDenied: the caller may not call this method.
        """

    def authorize_request(self, call: Call, message: Message) -> None:
        """Returns if it may with this message. Called with each message of the client.

        Raises:
            PermissionDenied: the caller may not do what the message asks for.
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
        if not rule_of(call.method.name).reads:
            raise PermissionDenied(
                f"callers without identity may only read; {call.method.name} writes",
                metadata={"method": call.method.name},
            )

    def authorize_request(self, call: Call, message: Message) -> None:
        """See Authorizer: nothing depends on the message."""


class Authorize(Interceptor):
    """Asks an authorizer about every call, but those that another member forwards, which has asked its own.

    What is for members only is refused to everybody else, whatever the authorizer.
    """

    def __init__(self, authorizer: Authorizer) -> None:
        self._authorizer = authorizer

    def enter(self, call: Call) -> None:
        """Refuses what the authorizer refuses."""
        if call.forwarded:
            return
        if call.method.service == PEERS:
            raise members_only(call, known=bool(call.identity))
        self._authorizer.authorize(call)

    def request(self, call: Call, message: Message, data: bytes) -> None:
        """Refuses what the authorizer refuses."""
        if not call.forwarded:
            self._authorizer.authorize_request(call, message)
