"""The world: what the builders of resources read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from sira_grpc.clock import Clock
from sira_grpc.registry.view import RegistryView


@dataclass(frozen=True, slots=True)
class World:
    """What resources are made of.

    Attributes:
        view: the registry.
        clock: the time, for slow start.
        trust_domain: of the identities; empty where there are none.
        roots: returns the roots of the trust domain, PEM; empty where there are none.
        load_report_interval: seconds; 0 means that clients report no load.
    """

    view: RegistryView
    clock: Clock
    trust_domain: str = ""
    roots: Callable[[], bytes] = bytes
    load_report_interval: float = 10.0
