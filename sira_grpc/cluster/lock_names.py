"""Names of locks and elections, and the store keys they live under."""

from __future__ import annotations

LOCKS = "locks/"
ELECTIONS = "elections/"


def is_claimed(key: str) -> bool:
    """Whether a store key is that of a lock or an election."""
    return key.startswith((LOCKS, ELECTIONS))


def key_of(name: str) -> str:
    """Returns the store key of `namespaces/{namespace}/locks/{lock}`, or of an election's name."""
    _, namespace, kind, own = name.split("/")
    return f"{kind}/{namespace}/{own}"


def name_of(key: str) -> str:
    """Returns the resource name of a store key."""
    kind, namespace, own = key.split("/")
    return f"namespaces/{namespace}/{kind}/{own}"


def namespace_of(key: str) -> str:
    """Returns the namespace name of a store key."""
    return f"namespaces/{key.split('/')[1]}"


def unit_of(key: str) -> str:
    """Returns the unit of placement that looks after claims whose member is gone."""
    return f"lock/{name_of(key)}"


def member_name(member: str) -> str:
    """Returns the resource name of a member."""
    return f"members/{member}"
