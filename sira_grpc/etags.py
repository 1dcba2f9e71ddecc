"""Optimistic concurrency: the etag of a resource is the revision that wrote it."""

from __future__ import annotations

from sira_grpc.errors import EtagMismatch


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
