"""The world: what the builders of resources read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from sira_grpc.clock import Clock
from sira_grpc.registry.view import RegistryView
from sira_grpc.xds.references import References
from sira_grpc.xds.transitions import Transitions


@dataclass(frozen=True, slots=True)
class World:
    """What resources are made of.

    Attributes:
        view: the registry.
        clock: the time, for slow start.
        trust_domain: of the identities; empty where there are none.
        roots: returns the roots of the trust domain, PEM; empty where there are none.
        load_report_interval: seconds; 0 means that clients report no load.
        references: what policies refer to.
        transitions: the policies that are on their way to take effect.
    """

    view: RegistryView
    clock: Clock
    trust_domain: str = ""
    roots: Callable[[], bytes] = bytes
    load_report_interval: float = 10.0
    references: References = field(default_factory=References)
    transitions: Transitions = field(default_factory=Transitions)
