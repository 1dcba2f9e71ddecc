"""For how long clusters of an Envoy warm: until it has their endpoints, it serves what they were before, or nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import aiohttp

from bench.xds.sidecars import Sidecar

_LINE = re.compile(
    r"\[(?P<time>[-0-9]+ [:0-9]+\.\d+)\].* "
    r"(?:add/update cluster (?P<begun>\S+) starting warming"
    r"|warming cluster (?P<ended>\S+) complete|removing warming cluster (?P<removed>\S+))"
)
_REJECTED = r"update_rejected$"


@dataclass(slots=True)
class Warmed:
    """What became of the clusters of one Envoy.

    Attributes:
        times: for how long each did that warmed, seconds.
        unfinished: those that are not done: since when, by Envoy's clock.
        rejected: updates of any kind that it has refused.
    """

    times: list[float] = field(default_factory=list)
    unfinished: dict[str, datetime] = field(default_factory=dict)
    rejected: int = 0

    def read(self, lines: Iterable[str]) -> None:
        """Takes in the log: it knows better than who asks from time to time, on cores that are busy."""
        for found in filter(None, map(_LINE.match, lines)):
            now = datetime.fromisoformat(found["time"])
            if found["begun"]:
                self.unfinished.setdefault(found["begun"], now)
                continue
            begun = self.unfinished.pop(found["ended"] or found["removed"], None)
            if begun is not None:
                self.times.append((now - begun).total_seconds())


async def begin(sidecar: Sidecar) -> None:
    """Has an Envoy log what becomes of its clusters from now on."""
    async with aiohttp.ClientSession() as session, session.post(f"{_admin(sidecar)}/logging?upstream=debug") as answer:
        answer.raise_for_status()


async def end(sidecar: Sidecar) -> Warmed:
    """Returns what became of them since."""
    query = {"format": "json", "filter": _REJECTED}
    async with aiohttp.ClientSession() as session, session.get(f"{_admin(sidecar)}/stats", params=query) as answer:
        answer.raise_for_status()
        stats: Any = await answer.json(content_type=None)
    warmed = Warmed(rejected=sum(int(each.get("value", 0)) for each in stats["stats"]))
    with sidecar.log.open(errors="replace") as log:
        warmed.read(log)
    return warmed


def _admin(sidecar: Sidecar) -> str:
    return f"http://127.0.0.1:{sidecar.admin}"
