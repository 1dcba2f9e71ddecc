"""The keys of members and duties in the store, and the resource names of members."""

from __future__ import annotations

PREFIX = "cluster/"
MEMBERS = "cluster/members/"
DUTIES = "cluster/duties/"
SECRET = "cluster/secret"


def member_key(member: str) -> str:
    """Returns the key of a member's record."""
    return f"{MEMBERS}{member}"


def duty_key(duty: str) -> str:
    """Returns the key that says who has a duty."""
    return f"{DUTIES}{duty}"


def member_name(member: str) -> str:
    """Returns the resource name of a member, `members/{member}`."""
    return f"members/{member}"
