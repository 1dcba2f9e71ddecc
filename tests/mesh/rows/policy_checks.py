"""The row about policies that a client would not do: they are refused when they are written, and nobody notices."""

from __future__ import annotations

import asyncio

from sira.registry.v1.route_pb2 import Destination, Mirror, Route, Split
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy
from sira.xds.v1.client_pb2 import ClientKind
from sira_client import SiraError

from tests.mesh.cell import PATIENCE, PAUSE, Cell
from tests.mesh.trial import Row, Trial
from tests.mesh.world import service_name

SECTION = "Policies"
REASON = "POLICY_NOT_SUPPORTED"


async def refused(trial: Trial) -> None:
    """What a connected client does not do is refused, with its kind and the field; so is what leads nowhere.

    One column after the other: no client of another kind may be connected.
    """
    await trial.create()
    await trial.endpoint("e1")
    for cell in trial.open:
        await cell.close()
    for cell in trial.open:
        await trial.one(cell, lambda cell: _refuses(trial, cell))


async def _refuses(trial: Trial, cell: Cell) -> None:
    await cell.open(trial.service)
    await cell.until(lambda tally: tally.only("e1"))
    nowhere = Split(weight=1, destination=Destination(service=service_name("nowhere")))
    error = await _refusal(trial, TrafficPolicy(routes=[Route(splits=[nowhere])]))
    assert error is not None, "a split to a service that is not there was written"
    if not cell.column.envoy:
        await _refuses_of_kind(trial, ClientKind.Name(cell.column.kind).removeprefix("CLIENT_KIND_"))
    tally = await cell.call(10)
    assert tally.only("e1"), str(tally)
    await cell.close()


async def _refuses_of_kind(trial: Trial, kind: str) -> None:
    """Writes a policy that only an Envoy does, until it is refused because of this kind: others may be there still."""
    mirrored = TrafficPolicy(mirror=Mirror(destination=Destination(version="v2"), percent=100))
    async with asyncio.timeout(PATIENCE):
        while True:
            error = await _refusal(trial, mirrored)
            assert error is not None, "a mirror was written"
            assert error.reason == REASON, str(error)
            assert error.metadata["field"] == "service.traffic_policy.mirror", str(error)
            if error.metadata["kind"] == kind:
                return
            await asyncio.sleep(PAUSE)


async def _refusal(trial: Trial, policy: TrafficPolicy) -> SiraError | None:
    """Writes a policy. Returns what it is refused with; None if it is not."""
    try:
        await trial.change(traffic_policy=policy)
    except SiraError as error:
        return error
    return None


ROWS = (Row("refused", "Bad policy refused when written", SECTION, refused, alone=True),)
