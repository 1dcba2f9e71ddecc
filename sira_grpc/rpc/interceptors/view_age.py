"""Marks what is read while the store is lost with its age."""

from __future__ import annotations

from collections.abc import Callable

from sira_grpc.rpc.call import Call
from sira_grpc.rpc.interceptors.access import READ, rule_of
from sira_grpc.rpc.interceptors.interceptor import Interceptor

METADATA = "sira-view-age-ms"
"""In the trailing metadata of a unary read: milliseconds since its member was last known to have seen everything."""


class ViewAge(Interceptor):
    """Adds the trailing metadata to the unary reads of Sira's own services.

    Attributes:
        age: seconds since the views were last known to be current; None while they are.
    """

    def __init__(self) -> None:
        self.age: Callable[[], float | None] = _current
        self._reads: dict[str, bool] = {}

    def enter(self, call: Call) -> None:
        """Marks the call, if it reads and the store is lost."""
        age = self.age()
        if age is not None and self._is_read(call):
            call.context.set_trailing_metadata(((METADATA, str(round(age * 1000))),))

    def _is_read(self, call: Call) -> bool:
        method = call.method
        read = self._reads.get(method.name)
        if read is None:
            read = method.name.startswith("sira.") and not method.streams and rule_of(method.name) is READ
            self._reads[method.name] = read
        return read


def _current() -> float | None:
    """The age of views that are current."""
    return None
