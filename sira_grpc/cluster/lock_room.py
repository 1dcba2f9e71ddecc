"""Where locks may be, and how many: in namespaces that are there, within limits."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from typing import Protocol

from sira.cluster.internal.v1.lock_record_pb2 import LockRecord

from sira_grpc.cluster import lock_names
from sira_grpc.cluster.lock_view import LockView
from sira_grpc.errors import LimitExceeded

MAX_RECORD_BYTES = 900_000
"""A lock with all who have it or wait: below what the store takes, with room for what a claim gets by being granted."""


class Namespaces(Protocol):
    """The namespaces that there are. The registry has them."""

    def namespace(self, name: str) -> object:
        """Returns a namespace or raises NamespaceNotFound."""

    def keeping(self, name: str) -> AbstractContextManager[None]:
        """Keeps a namespace from being deleted while the block runs. Raises NamespaceNotFound if it is just then."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What may be at once.

    Attributes:
        waiters: claims that may wait for one lock.
        locks: locks and elections in one namespace, about: those that are created at the same moment may be above it.
    """

    waiters: int = 1000
    locks: int = 10_000


class LockRoom:
    """Refuses what there is no room for."""

    def __init__(self, view: LockView, namespaces: Namespaces, limits: Limits) -> None:
        self._view = view
        self._namespaces = namespaces
        self._limits = limits

    def check_namespace(self, name: str) -> None:
        """Raises NamespaceNotFound unless a namespace is there."""
        self._namespaces.namespace(name)

    @contextmanager
    def keeping(self, lock: str) -> Iterator[None]:
        """Keeps the namespace of a lock while the block runs.

        Raises:
            NamespaceNotFound: it is not there, or is being deleted.
        """
        namespace = lock_names.namespace_of(lock)
        self._namespaces.namespace(namespace)
        with self._namespaces.keeping(namespace):
            yield

    def check_new(self, lock: str) -> None:
        """Raises LimitExceeded if a lock must not be added to those of its namespace."""
        namespace = lock_names.namespace_of(lock)
        if len(self._view.held_in(namespace)) >= self._limits.locks:
            raise _over("locks", self._limits.locks, namespace)

    def check(self, lock: str, record: LockRecord) -> None:
        """Raises LimitExceeded if a lock has become too large."""
        if len(record.waiters) > self._limits.waiters:
            raise _over("waiters", self._limits.waiters, lock_names.name_of(lock))
        if record.ByteSize() > MAX_RECORD_BYTES:
            raise _over("bytes", MAX_RECORD_BYTES, lock_names.name_of(lock))


def _over(limit: str, value: int, resource: str) -> LimitExceeded:
    return LimitExceeded(
        f"{resource} would be over its limit of {limit}, {value}",
        metadata={"limit": limit, "value": str(value), "resource": resource},
    )
