"""Resource names of locks and elections."""

from __future__ import annotations

import re

_ID = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")


def parent_name(namespace: str) -> str:
    """The resource name of a namespace.

    Raises:
        ValueError: the id is malformed.
    """
    _check("namespace", namespace)
    return f"namespaces/{namespace}"


def lock_name(lock: str, namespace: str) -> str:
    """The resource name of a lock, given by its id or already by its resource name.

    Raises:
        ValueError: an id is malformed.
    """
    return _resource("lock", lock, namespace)


def election_name(election: str, namespace: str) -> str:
    """The resource name of an election, given by its id or already by its resource name.

    Raises:
        ValueError: an id is malformed.
    """
    return _resource("election", election, namespace)


def _resource(kind: str, name: str, namespace: str) -> str:
    match name.split("/"):
        case ["namespaces", named, found, own] if found == f"{kind}s":
            namespace, name = named, own
    _check(kind, name)
    return f"{parent_name(namespace)}/{kind}s/{name}"


def _check(field: str, value: str) -> None:
    if not _ID.fullmatch(value):
        raise ValueError(f"{field}: {value!r} must match {_ID.pattern}")
