"""Who judges a run finds what is wrong, and nothing where nothing is."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import cast

import grpc
import pytest
from grpc.aio import Metadata

from tests.faults.clients import Clients
from tests.faults.endpoint_watch import EndpointWatch
from tests.faults.endpoints import GRACE_SECONDS, TTL_SECONDS, Endpoints, Holding
from tests.faults.locks import Locks, Tenure
from tests.faults.meter import Meter
from tests.faults.nemesis import Nemesis
from tests.faults.report import Outcome
from tests.faults.schedule import Fault
from tests.faults.world import World
from tests.integration.bus_ledger import Findings

SERVICE = "namespaces/default/services/held-0"
NAMES = frozenset(f"{SERVICE}/endpoints/e{number}" for number in range(3))


class Now:
    """A clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.at = 100.0

    def __call__(self) -> float:
        return self.at


@pytest.fixture
def now() -> Now:
    return Now()


@pytest.fixture
def meter(now: Now) -> Meter:
    return Meter(Findings(), now)


def kinds(meter: Meter) -> list[str]:
    return [violation.partition(":")[0] for violation in meter.findings.violations]


@pytest.mark.parametrize(
    ("tenures", "wrong"),
    [
        ([(1, 0.0, 2.0), (2, 2.0, 4.0)], []),
        ([(1, 0.0, 2.0), (2, 1.9, 4.0)], ["held by two"]),
        ([(1, 0.0, 9.0), (2, 1.0, 1.0), (3, 5.0, 6.0)], ["held by two", "held by two"]),
    ],
)
def test_two_may_not_have_a_lock(meter: Meter, tenures: list[tuple[int, float, float]], wrong: list[str]) -> None:
    locks = Locks(Clients([], random.Random(1)), random.Random(1), meter)
    locks._tenures["0"] = [Tenure("0", "", *tenure) for tenure in tenures]
    locks._judge("0")
    assert kinds(meter) == wrong


def test_a_lock_may_not_be_said_to_be_gone_before_its_time(meter: Meter, now: Now) -> None:
    locks = Locks(Clients([], random.Random(1)), random.Random(1), meter)
    tenure = Tenure("0", "", 1, 99.0, 101.0)
    now.at = 101.0
    locks._gone(tenure, 100.9, "lost")
    assert kinds(meter) == []
    tenure.until = 103.0
    locks._gone(tenure, 100.9, "lost")
    assert kinds(meter) == ["lost too early"]


class Watched:
    """A holding of three endpoints, and a watch of it on one member.

    Args:
        faults: how many there were, and for how long.
    """

    def __init__(self, folder: Path, meter: Meter, faults: tuple[int, float] = (0, 0.0)) -> None:
        clients = Clients([cast(grpc.aio.Channel, None)], random.Random(1))
        endpoints = Endpoints([], folder, clients, random.Random(1), meter, lambda _: faults)
        process = cast(asyncio.subprocess.Process, None)
        self.holding = Holding(process, SERVICE, NAMES)
        endpoints._holdings.append(self.holding)
        self._endpoints = endpoints
        self._watch: EndpointWatch = endpoints._watches[0]

    def shows(self, names: frozenset[str]) -> None:
        self._watch.there = set(names)
        self._endpoints._look(self._watch)


def test_an_endpoint_whose_holder_lives_may_not_vanish(tmp_path: Path, meter: Meter) -> None:
    watched = Watched(tmp_path, meter)
    watched.shows(NAMES)
    watched.shows(frozenset())  # before its holder was told that it is registered
    watched.holding.registered = True
    watched.shows(NAMES)
    assert kinds(meter) == []
    watched.shows(NAMES - {min(NAMES)})
    assert kinds(meter) == ["evicted while its holder lives"]


@pytest.mark.parametrize(("faults", "late"), [((0, 0.0), True), ((1, 3.0), False)])
def test_an_endpoint_whose_holder_died_may_not_stay(
    tmp_path: Path, meter: Meter, now: Now, faults: tuple[int, float], late: bool
) -> None:
    watched = Watched(tmp_path, meter, faults)
    watched.holding.registered = True
    watched.shows(NAMES)
    watched.holding.died = now.at
    now.at += TTL_SECONDS + GRACE_SECONDS + 0.1
    watched.shows(frozenset())
    assert kinds(meter) == (["served after its end"] if late else [])


def test_an_error_that_nobody_expects_is_a_violation(meter: Meter) -> None:
    for code in (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.INTERNAL):
        meter.failed("call", grpc.aio.AioRpcError(code, Metadata(), Metadata(), "no"))
    assert meter.errors == {("call", "UNAVAILABLE", ""): 1, ("call", "INTERNAL", ""): 1}
    assert kinds(meter) == ["unexpected error"]


async def test_the_nemesis_knows_for_how_long_what_was_broken(now: Now) -> None:
    nemesis = Nemesis(cast(World, None), print, now)
    nemesis._times = [(90.0, 92.0), (95.0, float("inf"))]
    assert nemesis.broken(91.0) == (2, 1.0 + 5.0)
    assert nemesis.broken(93.0) == (1, 5.0)


def test_the_report_tells_of_what_there_was_and_of_what_there_was_not(meter: Meter, now: Now) -> None:
    for _ in range(2):
        meter.succeeded("publish frames")
        now.at += 2.5
    meter.findings.violation("lost", "a record")
    told = str(Outcome(7, 60.0, {Fault.MEMBER_KILLED: 3}, meter))
    for line in ("seed 7, 60 s", "publish frames  2, longest without 2.5 s", "lost: a record"):
        assert line in told
    rows = dict(
        line.strip().rsplit(None, 1) for line in told.splitlines() if line.startswith("  ") and line[-1].isdigit()
    )
    assert rows[Fault.MEMBER_KILLED.value] == "3"
    assert rows["lost"] == "1"
    assert rows["duplicated"] == "0"
