"""Locks as metrics: never by lock."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from sira_grpc.cluster.lock_gauges import expose
from sira_grpc.telemetry import Telemetry
from tests.unit.cluster.locking_world import LOCK, CampaignStream, LockStream, candidacy, wanted, world
from tests.unit.cluster.test_gauges import Readings


def read(readings: Readings) -> tuple[object, object, object]:
    """Held, waiting and expired."""
    held, waiting, expired = (readings.gauges[f"sira.locks.{name}"]() for name in ("held", "waiting", "expired"))
    return held, waiting, expired


def numbers(locks: int, elections: int) -> list[tuple[int, dict[str, str]]]:
    return [(locks, {"kind": "lock"}), (elections, {"kind": "election"})]


async def test_what_is_read(tmp_path: Path) -> None:
    async with world(tmp_path, shared=False) as alone:
        member = await alone.member()
        readings = Readings()
        expose(member, cast(Telemetry, readings))
        assert read(readings) == (numbers(0, 0), numbers(0, 0), 0)
        for number in range(3):
            await member.locks.acquire(wanted(name=f"{LOCK}{number}", ttl=2), "me")
        waiting = LockStream(member, wanted(name=f"{LOCK}0", ttl=100))
        await waiting.next()
        campaign = CampaignStream(member, candidacy())
        await campaign.until("elected")
        assert read(readings) == (numbers(3, 1), numbers(1, 0), 0)
        await alone.pass_(4)
        await waiting.acquired()
        assert read(readings) == (numbers(1, 1), numbers(0, 0), 3)
        await waiting.release()
        await campaign.resign()
        assert read(readings) == (numbers(0, 0), numbers(0, 0), 3)
