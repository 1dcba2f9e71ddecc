"""The attempts of one call to reach the member that serves it."""

from __future__ import annotations

import asyncio
import random
from dataclasses import dataclass

from sira_grpc.clock import Clock
from sira_grpc.errors import NotOwner
from sira_grpc.rpc.call import Call
from sira_grpc.rpc.forwarding.answers import unreachable
from sira_grpc.rpc.forwarding.peer_connection import PeerConnection
from sira_grpc.rpc.forwarding.peers import Members, Peers

MIN_PAUSE, MAX_PAUSE = 0.05, 0.25
"""Seconds between two attempts."""


@dataclass(frozen=True, slots=True)
class Reach:
    """What attempts are made with.

    Attributes:
        placement: says which member a unit of work belongs to.
        peers: connects to it.
        timeout: seconds for all attempts of a call.
        clock: time for deadlines.
        rng: varies pauses.
    """

    placement: Members
    peers: Peers
    timeout: float
    clock: Clock
    rng: random.Random


class Attempts:
    """Connects to the member that a call belongs to, as often as the time for it allows, asking each time which it is.

    Args:
        reach: see Reach.
        call: has a deadline, perhaps.
        unit: of work, that the call is about.

    Attributes:
        member: that was last asked for.
    """

    def __init__(self, reach: Reach, call: Call, unit: str) -> None:
        self._reach = reach
        self._unit = unit
        remaining = call.context.time_remaining()
        patience = reach.timeout if remaining is None else min(reach.timeout, remaining)
        self._until = reach.clock.monotonic() + patience
        self.member = ""

    async def connect(self) -> PeerConnection | None:
        """Returns a connection to the owner; None where that is this member by now.

        Raises:
            NotOwner: nobody could be reached in time. Nothing was executed.
        """
        while True:
            self.member = self._reach.placement.owner(self._unit)
            if self.member == self._reach.placement.member:
                return None
            # One that was there all along is used at the last moment too.
            left = max(self._until - self._reach.clock.monotonic(), 0.001)
            connection = await self._reach.peers.reach(self.member, left)
            if connection is not None:
                return connection
            await self.pause(unreachable(self.member, "it could not be reached"))

    async def pause(self, failure: NotOwner) -> None:
        """Waits before the next attempt.

        Raises:
            NotOwner: the failure, where there is no time for one.
        """
        delay = self._reach.rng.uniform(MIN_PAUSE, MAX_PAUSE)
        if self._reach.clock.monotonic() + delay >= self._until:
            raise failure
        await asyncio.sleep(delay)
