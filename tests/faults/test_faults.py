"""A cluster is broken in many ways under load, and nothing that was promised is lost. A longer run: `make soak`."""

from __future__ import annotations

from pathlib import Path

from tests.faults.schedule import Fault, Step
from tests.faults.trial import run

STEPS = (
    Step(1.0, 1.5, Fault.MEMBER_KILLED, 0),
    Step(4.0, 2.0, Fault.MEMBER_FROZEN, 1),
    Step(7.0, 0.3, Fault.LEADER_KILLED, 0),
    Step(12.0, 1.5, Fault.MEMBER_LOSES_STORE, 2),
)
"""One of each kind that matters most; the rest is for the long run, whose seed draws."""


async def test_nothing_that_was_promised_is_lost_while_the_cluster_breaks(tmp_path: Path) -> None:
    outcome = await run(tmp_path, 5, 15.0, print, steps=STEPS)
    print(outcome)
    outcome.meter.findings.check()
