"""What an interceptor is: three synchronous hooks around a call, because a chain of coroutines would cost more."""

from __future__ import annotations

from google.protobuf.message import Message

from sira_grpc.rpc.call import Call


class Interceptor:
    """Looks at every call. Each hook does nothing unless it is overridden.

    Hooks run on the event loop, in the task of the call, and must not block. Any of them but `exit` may raise a
    SiraError, which ends the call.
    """

    def enter(self, call: Call) -> None:
        """Called when a call begins, the outermost interceptor first."""

    def request(self, call: Call, message: Message, data: bytes) -> None:
        """Called with each message of the client and the bytes that it was read from, before the servicer sees it."""

    def exit(self, call: Call) -> None:
        """Called when the call is over and its `code` is known, the innermost first: if it overrides `enter` too,
        and that returned."""
