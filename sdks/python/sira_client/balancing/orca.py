"""Weights of endpoints by the load that they report with their answers.

Source: gRFC A58, https://github.com/grpc/proposal/blob/master/A58-client-side-weighted-round-robin-lb-policy.md
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

from sira_client.balancing.candidates import Candidate
from sira_client.balancing.orca_report import LoadReport

BLACKOUT_NS = 10 * 10**9
"""For how long after its first report an endpoint has no weight yet: what it says then is of a cold start."""
EXPIRATION_NS = 180 * 10**9
"""How long a report is good for."""
UPDATE_SECONDS = 1.0
"""How often calls are spread anew by what was reported."""
ERROR_PENALTY = 1.0
"""By how much the share of calls that fail counts as utilization."""

_RESOLUTION = 1_000_000


@dataclass(slots=True)
class _Known:
    weight: float
    since_ns: int
    at_ns: int


class LoadWeights:
    """What each endpoint is able to take, by what it reported: calls served a second over utilization."""

    def __init__(self) -> None:
        self._known: dict[str, _Known] = {}

    def report(self, name: str, load: LoadReport, now_ns: int) -> None:
        """Takes in what an endpoint said. One that says nothing of its rate or its utilization leaves all as it is."""
        if not (load.qps > 0 and load.utilization > 0):
            return
        penalty = load.eps / load.qps * ERROR_PENALTY if load.eps > 0 else 0.0
        weight = load.qps / (load.utilization + penalty)
        if not (isfinite(weight) and weight > 0):
            return
        known = self._known.get(name)
        if known is None or now_ns - known.at_ns >= EXPIRATION_NS:
            self._known[name] = _Known(weight, now_ns, now_ns)
        else:
            known.weight, known.at_ns = weight, now_ns

    def keep(self, names: frozenset[str]) -> None:
        """Forgets all others: they are not connected any more, and begin anew if they come back."""
        for name in [name for name in self._known if name not in names]:
            del self._known[name]

    def current(self, now_ns: int) -> Mapping[str, float]:
        """The weights that are good at a time, by endpoint name."""
        return {
            name: known.weight
            for name, known in self._known.items()
            if now_ns - known.since_ns >= BLACKOUT_NS and now_ns - known.at_ns < EXPIRATION_NS
        }


def by_load(candidates: Sequence[Candidate], weights: Mapping[str, float]) -> list[Candidate]:
    """The candidates with weights by load, each tier with the share of the calls that it had.

    One without a weight gets the mean of the others of its tier; where fewer than two have one, all get the same.

    Args:
        candidates: not empty, each with a weight above 0.
        weights: by endpoint name, above 0.
    """
    tiers: dict[int, list[Candidate]] = {}
    for candidate in candidates:
        tiers.setdefault(candidate.priority, []).append(candidate)
    total = sum(c.weight for c in candidates)
    result: list[Candidate] = []
    for priority, tier in tiers.items():
        known = [weights[c.endpoint.name] for c in tier if c.endpoint.name in weights]
        usual = sum(known) / len(known) if len(known) > 1 else 1.0
        own = [weights.get(c.endpoint.name, usual) if len(known) > 1 else usual for c in tier]
        factor = _RESOLUTION * sum(c.weight for c in tier) / total / sum(own)
        result += [Candidate(c.endpoint, max(1, round(w * factor)), priority) for c, w in zip(tier, own, strict=True)]
    return result
