"""What a client has rejected (NACK): versions that it is not sent again."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sira_grpc.xds.resource import Resource

KEPT_VERSIONS = 8
"""Rejected versions of one name that are remembered."""
REASON_LENGTH = 4096
"""Characters of a reason that are kept."""


class Rejections:
    """Rejected versions of one type on one stream, by name, with the client's reason."""

    __slots__ = ("_by_name",)

    def __init__(self) -> None:
        self._by_name: dict[str, dict[str, str]] = {}

    def __contains__(self, resource: Resource | None) -> bool:
        return resource is not None and resource.version in self._by_name.get(resource.name, ())

    def add(self, resource: Resource, reason: str) -> None:
        """Notes that a resource was rejected as it is."""
        versions = self._by_name.setdefault(resource.name, {})
        versions.pop(resource.version, None)
        versions[resource.version] = reason[:REASON_LENGTH]
        while len(versions) > KEPT_VERSIONS:
            del versions[next(iter(versions))]

    def reason(self, resource: Resource) -> str:
        """Returns why a resource was rejected; empty if it was not."""
        return self._by_name.get(resource.name, {}).get(resource.version, "")

    def forget(self, names: Iterable[str]) -> None:
        """Forgets names: the client has asked for them anew, or asks for them no more."""
        if self._by_name:
            for name in names:
                self._by_name.pop(name, None)

    def keep(self, names: frozenset[str]) -> None:
        """Forgets all other names."""
        if self._by_name:
            self._by_name = {name: versions for name, versions in self._by_name.items() if name in names}

    @property
    def names(self) -> list[str]:
        """Names of which a version was rejected."""
        return list(self._by_name)


def blamed(resources: Sequence[Resource], reason: str) -> list[Resource]:
    """Returns which resources of a response a rejection is about.

    A client rejects a response, but what is good in it it uses; which ones are bad, it says in words only. Those whose
    names are in there; all, if none is.
    """
    if len(resources) == 1:
        return list(resources)
    return [resource for resource in resources if _mentions(reason, resource.name)] or list(resources)


def _mentions(reason: str, name: str) -> bool:
    """Whether a text has a name, and not only another of which it is a part."""
    at = reason.find(name)
    while at >= 0:
        before, after = reason[at - 1 : at], reason[at + len(name) : at + len(name) + 2]
        goes_on = _in_name(after[:1]) or (after[:1] == "." and _in_name(after[1:]))
        if not goes_on and before != "." and not _in_name(before):
            return True
        at = reason.find(name, at + 1)
    return False


def _in_name(character: str) -> bool:
    return character.isalnum() or (character != "" and character in "-_|=%")
