"""Optimistic concurrency: the etag of a resource is the revision that wrote it."""

from __future__ import annotations

from typing import Protocol, TypeVar

from sira_grpc.errors import EtagMismatch


class _Tagged(Protocol):
    etag: str


T = TypeVar("T", bound=_Tagged)


def with_etag(resource: T, revision: int) -> T:
    """Gives a resource the etag of the revision that wrote it, and returns it."""
    resource.etag = str(revision)
    return resource


def check_etag(given: str, revision: int, resource: str) -> None:
    """Refuses an etag that is not the stored one; an empty one matches everything.

    Raises:
        EtagMismatch: the resource was written since it was read.
    """
    if given and given != str(revision):
        raise EtagMismatch(
            f"etag: {resource} is at {revision}, not at {given}: read it again",
            metadata={"resource": resource, "etag": str(revision)},
        )
