"""Which faults come when: drawn from a seed, so that a run can be repeated."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum

WARM_SECONDS = 3.0
"""Before the first fault, so that there is something to lose."""


class Fault(Enum):
    """What can be done to a world."""

    MEMBER_KILLED = "member killed (SIGKILL), started again"
    MEMBER_FROZEN = "member frozen (SIGSTOP), resumed"
    MEMBER_STOPPED = "member stopped (SIGTERM), started again"
    MEMBER_LOSES_STORE = "member loses the store (packets lost)"
    MEMBER_CUT_FROM_STORE = "member cut from the store (connections reset)"
    MEMBER_LOSES_PEERS = "member unreachable for other members"
    MEMBER_LOSES_CLIENTS = "member unreachable for clients"
    MEMBER_SLOW_STORE = "member with a slow way to the store"
    LEADER_KILLED = "store's leader killed (SIGKILL), started again"
    LEADER_FROZEN = "store's leader frozen (SIGSTOP), resumed"
    LEADER_ISOLATED = "store's leader isolated from the other nodes"
    NODE_KILLED = "store node killed (SIGKILL), started again"
    NODE_ISOLATED = "store node isolated from the other nodes"
    NODES_SLOW = "slow network between the store's nodes"
    NODES_KILLED = "all store nodes killed, started again"
    MEMBERS_KILLED = "all members killed, started again"

    @property
    def breaks_links(self) -> bool:
        """Whether it is done to the network, and not to processes."""
        return self in _OF_LINKS


_OF_LINKS = frozenset(
    {
        Fault.MEMBER_LOSES_STORE,
        Fault.MEMBER_CUT_FROM_STORE,
        Fault.MEMBER_LOSES_PEERS,
        Fault.MEMBER_LOSES_CLIENTS,
        Fault.MEMBER_SLOW_STORE,
        Fault.LEADER_ISOLATED,
        Fault.NODE_ISOLATED,
        Fault.NODES_SLOW,
    }
)


WEIGHTS = {
    Fault.MEMBER_KILLED: 4,
    Fault.MEMBER_FROZEN: 4,
    Fault.MEMBER_STOPPED: 3,
    Fault.MEMBER_LOSES_STORE: 3,
    Fault.MEMBER_CUT_FROM_STORE: 2,
    Fault.MEMBER_LOSES_PEERS: 2,
    Fault.MEMBER_LOSES_CLIENTS: 2,
    Fault.MEMBER_SLOW_STORE: 1,
    Fault.LEADER_KILLED: 3,
    Fault.LEADER_FROZEN: 2,
    Fault.LEADER_ISOLATED: 3,
    Fault.NODE_KILLED: 2,
    Fault.NODE_ISOLATED: 2,
    Fault.NODES_SLOW: 1,
    Fault.NODES_KILLED: 1,
    Fault.MEMBERS_KILLED: 1,
}
"""How often each is drawn, relative to the others."""
LONGEST = {Fault.NODES_KILLED: 0.5, Fault.MEMBERS_KILLED: 0.2}
"""Seconds that a fault lasts at most, where that is not MOST_SECONDS."""
MOST_SECONDS = 7.0


@dataclass(frozen=True, slots=True)
class Step:
    """One fault.

    Attributes:
        at: seconds after the beginning.
        seconds: how long until it is undone.
        fault: which.
        target: which member or node it is done to, as a number from 0; the leader is found by asking, when it is done.
    """

    at: float
    seconds: float
    fault: Fault
    target: int

    def __str__(self) -> str:
        return f"{self.at:6.2f} s  {self.fault.name.lower():<22} {self.target + 1}  for {self.seconds:.2f} s"


def schedule(seed: int, seconds: float, *, targets: int = 3) -> list[Step]:
    """Returns the faults of a run, in their order: one at a time, each undone before the next begins.

    Args:
        seed: the same gives the same.
        seconds: how long the run lasts; the last fault is undone before.
        targets: how many members, and nodes, there are.
    """
    return list(_steps(random.Random(seed), seconds, targets))


def _steps(rng: random.Random, seconds: float, targets: int) -> Iterator[Step]:
    faults, weights = list(WEIGHTS), list(WEIGHTS.values())
    at = WARM_SECONDS
    while True:
        (fault,) = rng.choices(faults, weights)
        most = LONGEST.get(fault, MOST_SECONDS)
        # Half of them are short: some of what is done then is not noticed by all.
        lasts = round(rng.uniform(0.1, most) if rng.random() < 0.5 else rng.uniform(0.05, min(1.5, most)), 2)
        target = rng.randrange(targets)
        calm = round(rng.choice((0.0, rng.uniform(0, 2), rng.uniform(2, 8))), 2)
        if at + lasts > seconds:
            return
        yield Step(round(at, 2), lasts, fault, target)
        at += lasts + calm
