"""Clients of every kind, in meshes that change at random: nothing that they use breaks, and at rest they have all.

SIRA_SEEDS says how many meshes there are of each mode, for a long run: `SIRA_SEEDS=200 pytest -n0` of this file.
"""

from __future__ import annotations

import os

import pytest

from tests.unit.xds.mesh_simulation import Mode, Simulation

SEEDS = int(os.environ.get("SIRA_SEEDS", "5"))
PROMPT = (0.0, 0.0, 0.003, 0.01, 0.02)
LATE = (*(0.0,) * 13, 0.01, 0.3, 1.5, 8.0)
USUAL = (0.0, 0.0, 0.001, 0.01, 0.05, 0.2, 0.3, 0.6, 1.1, 4.0, 11.0)
MODES = {
    "prompt": Mode(pauses=USUAL, bursts=25, lags=PROMPT),
    "late": Mode(pauses=USUAL, bursts=25, lags=LATE, disorder=True),
    "churn": Mode(pauses=(0.0, 0.0, 0.001, 0.01, 0.05), bursts=100, lags=PROMPT),
}


@pytest.mark.parametrize("seed", range(SEEDS))
@pytest.mark.parametrize("mode", MODES)
async def test_clients_have_what_there_is_and_nothing_that_they_use_breaks(mode: str, seed: int) -> None:
    await Simulation(seed, MODES[mode]).run()
