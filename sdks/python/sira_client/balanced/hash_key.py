"""The key by which ring hash finds the endpoint of a call."""

from __future__ import annotations

from collections.abc import Callable

from sira_client.balancing.route_match import headers_of
from sira_client.routing import CallInfo

HashKey = Callable[[CallInfo], str]

DEFAULT_HEADER = "sira-hash-key"


class HeaderKey:
    """The key that the caller sends along as metadata; empty, for a random one, without it.

    Attributes:
        header: where it is, as the policy of the service says.
    """

    def __init__(self) -> None:
        self.header = DEFAULT_HEADER

    def __call__(self, info: CallInfo) -> str:
        """The key of a call."""
        return headers_of(info.metadata).get(self.header, "") if info.metadata else ""
