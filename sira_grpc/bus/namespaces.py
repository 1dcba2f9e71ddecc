"""Namespaces as the bus knows them: whether one is there, and whether it has room for one more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Sized
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

from sira_grpc.errors import LimitExceeded


class Namespaces(Protocol):
    """The namespaces that there are. The registry has them."""

    def namespace(self, name: str) -> object:
        """Returns a namespace or raises NamespaceNotFound."""

    def keeping(self, name: str) -> AbstractContextManager[None]:
        """Keeps a namespace from being deleted while the block runs. Raises NamespaceNotFound if it is just then."""


class ServedNamespaces(Namespaces, Protocol):
    """The namespaces that there are, of which this member serves some."""

    def check_owner(self, name: str) -> None:
        """Raises NotOwner for a name in a namespace that another member serves.

        What is done there is done by that member: its view shows it as soon as it is done.
        """


class Room:
    """How many topics or subscriptions a namespace may hold, those that are being created included.

    Args:
        field: the name of the limit in the configuration.
        limit: how many.
        held: returns those that a namespace holds.
    """

    def __init__(self, field: str, limit: int, held: Callable[[str], Sized]) -> None:
        self._field = field
        self._limit = limit
        self._held = held
        self._coming: Counter[str] = Counter()

    @contextmanager
    def one_more(self, namespace: str) -> Iterator[None]:
        """Keeps a place while the block creates one more.

        Raises:
            LimitExceeded: there is no place left.
        """
        if len(self._held(namespace)) + self._coming[namespace] >= self._limit:
            raise LimitExceeded(
                f"{namespace} has {self._field}, {self._limit}, already",
                metadata={"limit": self._field, "value": str(self._limit), "resource": namespace},
            )
        self._coming[namespace] += 1
        try:
            yield
        finally:
            self._coming[namespace] -= 1
            if not self._coming[namespace]:
                del self._coming[namespace]
