"""What the stateful tests share: a store on an engine, driven from synchronous rules through a loop of their own."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, ClassVar, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from tests.contract.engines import Engine

T = TypeVar("T")


class StoreMachine(RuleBasedStateMachine):
    """A store, empty at the start of each run and destroyed at its end."""

    engine: ClassVar[Engine]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.store = self.run(self.engine.open())

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    def finish(self) -> None:
        """Checks what is still to be checked at the end of a run."""

    def teardown(self) -> None:
        try:
            self.finish()
        finally:
            self.run(self.engine.destroy())
            self.runner.close()


def check(machine: type[StoreMachine], engine: Engine, *, runs: int, steps: int) -> None:
    """Runs a machine's rules in many orders."""
    bound = type(machine.__name__, (machine,), {"engine": engine})
    # Rules write to a disk, whose speed says nothing about them.
    run_state_machine_as_test(
        bound,
        settings=settings(
            max_examples=runs, stateful_step_count=steps, deadline=None, suppress_health_check=[HealthCheck.too_slow]
        ),
    )
