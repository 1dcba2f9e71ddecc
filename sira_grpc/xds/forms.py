"""The forms of names: all that clients may ask for the same resource by."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache

from sira_grpc.xds import names
from sira_grpc.xds.names import Target

_KEPT = 1 << 14


@lru_cache(maxsize=_KEPT)
def of_service(service: str, type_url: str) -> frozenset[str]:
    """Returns the names of what there is once for each service: its listener, its routes."""
    full = names.short(service)
    plain = (full, full.partition(".")[0])
    return frozenset({*plain, *(names.xdstp(name, type_url) for name in plain)})


@lru_cache(maxsize=_KEPT)
def of_target(target: Target, type_url: str) -> frozenset[str]:
    """Returns the names of what there is for each target: its cluster, its endpoints."""
    return of(names.cluster(target), type_url)


def of(plain: str, type_url: str) -> frozenset[str]:
    """Returns the forms of a plain name."""
    return frozenset({plain, names.xdstp(plain, type_url)})


def of_services(services: Iterable[str], type_url: str) -> frozenset[str]:
    """Returns the names of what there is once for each of some services."""
    return frozenset[str]().union(*(of_service(service, type_url) for service in services))


def of_targets(targets: Iterable[Target], type_url: str) -> frozenset[str]:
    """Returns the names of what there is for each of some targets."""
    return frozenset[str]().union(*(of_target(target, type_url) for target in targets))
