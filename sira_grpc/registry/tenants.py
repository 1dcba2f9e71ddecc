"""Namespaces as the other subsystems use them, and what those have in them."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol

from sira_grpc.registry.entries import NamespaceEntry
from sira_grpc.registry.guards import DeletionGuard
from sira_grpc.registry.view import RegistryView


class Tenant(Protocol):
    """A subsystem that keeps resources of its own in namespaces."""

    def holds(self, namespace: str) -> str:
        """Says what it has in a namespace, such as `2 topics`; empty if that is nothing."""

    async def clear(self, namespace: str) -> None:
        """Deletes what it has in a namespace."""


class Namespaces:
    """The namespaces that there are, for those who keep something in them."""

    def __init__(self, view: RegistryView, guard: DeletionGuard) -> None:
        self._view = view
        self._guard = guard

    def namespace(self, name: str) -> NamespaceEntry:
        """Returns a namespace or raises NamespaceNotFound."""
        return self._view.namespace(name)

    def keeping(self, name: str) -> AbstractContextManager[None]:
        """Keeps a namespace from being deleted while the block runs. Raises NamespaceNotFound if it is just then."""
        return self._guard.using((name,))
