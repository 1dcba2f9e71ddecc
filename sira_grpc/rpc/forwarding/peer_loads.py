"""The loads that are reported to other members, followed by this one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from typing import Protocol

from grpc import aio
from sira.cluster.internal.v1.peer_service_pb2 import FollowLoadsRequest
from sira.registry.v1.load_pb2 import EndpointLoad

from sira_grpc.rpc.forwarding.peer_calls import PeerCalls

PAUSE_SECONDS = 0.5
"""How long a member that could not be followed is left alone."""

log = logging.getLogger(__name__)


class RemoteLoads(Protocol):
    """Takes loads that were reported to other members."""

    def put_remote(self, loads: Iterable[EndpointLoad]) -> None:
        """Takes some."""


class PeerLoads:
    """A task for each other live member, which follows its loads for as long as it is live.

    Args:
        calls: makes the calls.
        failed: called when one of the tasks has ended that must not.
    """

    def __init__(self, calls: PeerCalls, failed: Callable[[], None]) -> None:
        self._calls = calls
        self._failed = failed
        self._loads: RemoteLoads | None = None
        self._following: dict[str, asyncio.Task[None]] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def start(self, loads: RemoteLoads) -> None:
        """Follows the members that are live, from here on."""
        self._loads = loads
        self.members_changed()

    def members_changed(self) -> None:
        """Begins to follow who has come and leaves who has gone. Does nothing before the start."""
        if self._loads is None:
            return
        others = self._calls.others
        for member in self._following.keys() - others:
            self._following.pop(member).cancel()
        for member in others - self._following.keys():
            task = asyncio.create_task(self._follow(member, self._loads), name=f"loads of member {member}")
            self._following[member] = task
            self._ending.add(task)
            task.add_done_callback(self._ended)

    async def close(self) -> None:
        """Follows nobody any more."""
        self._loads = None
        self._following.clear()
        ending = tuple(self._ending)
        for task in ending:
            task.cancel()
        await asyncio.gather(*ending, return_exceptions=True)

    async def _follow(self, member: str, loads: RemoteLoads) -> None:
        while True:
            try:
                async for response in self._calls.follow_loads(member, FollowLoadsRequest()):
                    loads.put_remote(response.loads)
            except aio.AioRpcError as error:
                log.debug("the loads of member %s are not followed: %s", member, error.details())
            await asyncio.sleep(PAUSE_SECONDS)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._ending.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:
            log.critical("%s ended", task.get_name(), exc_info=error)
            self._failed()
