"""Subjects: what a resource is about, as its type and name say."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from functools import lru_cache

from sira_grpc.xds import names
from sira_grpc.xds.names import EGRESS, INBOUND, SERVER, Target
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, SECRET

KEPT = 1 << 15
"""Names of which what they are about is kept."""
KEPT_LENGTH = 256
"""Characters of a name, above which it is not kept: clients may ask for whatever they like."""

_XDSTP = "xdstp:"


class Scope(Enum):
    """What a resource changes with."""

    TARGET = 1
    """One service, or a part of it."""
    CLIENT = 2
    """The service that the client itself runs for."""
    MESH = 3
    """Every service."""
    TRUST = 4
    """The roots of the trust domain."""


@dataclass(frozen=True, slots=True)
class Subject:
    """What a resource is about.

    Attributes:
        plain: its name without the form of xdstp.
        scope: what it changes with.
        target: what it stands for, if that is its scope.
    """

    plain: str
    scope: Scope
    target: Target | None = None


def depends_on_node(name: str) -> bool:
    """Whether a resource of that name, in its plain form, depends on the service that the client itself runs for."""
    return name.startswith((SERVER, INBOUND))


def subject(type_url: str, name: str, namespace: str, *, envoy: bool) -> Subject | None:
    """Returns what a resource is about; None if there can be no resource of that type and name.

    Args:
        type_url: its type.
        name: its name, as a client asks for it.
        namespace: id of the namespace in which short names are looked up.
        envoy: whether the client is an Envoy.
    """
    if "." in name and not name.startswith(_XDSTP):  # it is not a short one
        namespace = ""
    if len(name) > KEPT_LENGTH or not name.isascii():
        return _read(type_url, name, namespace, envoy)
    return _kept(type_url, name, namespace, envoy)


def _read(type_url: str, name: str, namespace: str, envoy: bool) -> Subject | None:
    plain = names.plain(name, type_url)
    if type_url == SECRET:
        return Subject(plain, Scope.TRUST)
    if depends_on_node(plain):
        return Subject(plain, Scope.CLIENT)
    if envoy and plain == EGRESS:
        return Subject(plain, Scope.MESH)
    if type_url not in (CLUSTER, ENDPOINTS):
        service = names.service_named(plain, namespace)
        return Subject(plain, Scope.TARGET, Target(service)) if service else None
    target = names.target_named(plain)
    if target is None or names.cluster(target) != plain:  # one name for each: a subset may be written in many ways
        return None
    return Subject(plain, Scope.TARGET, target)


_kept = lru_cache(maxsize=KEPT)(_read)  # which tells calls apart by place faster than by name
