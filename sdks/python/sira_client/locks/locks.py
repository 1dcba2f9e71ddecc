"""Locks, as a program sees them: acquire, look at, and stand for elections."""

from __future__ import annotations

from typing import Protocol, TypeVar

import grpc
from sira.cluster.v1.lock_pb2 import Lock as LockState
from sira.cluster.v1.lock_service_pb2 import GetLockRequest, ListLocksRequest, LockAcquisition
from sira.cluster.v1.lock_service_pb2_grpc import LockServiceStub

from sira_client.link import Link
from sira_client.locks.claim import LockClaim
from sira_client.locks.claim_holder import ClaimHolder
from sira_client.locks.election import Election
from sira_client.locks.leadership import Leadership
from sira_client.locks.lock import Lock
from sira_client.locks.names import election_name, lock_name, parent_name
from sira_client.locks.terms import check_permits, check_ttl, check_wait
from sira_client.settings import Settings

T = TypeVar("T", Lock, Leadership)


class Owner(Protocol):
    """Keeps what has to be closed with the client."""

    def __call__(self, opened: T) -> T:
        """Takes it, and returns it."""


class Locks:
    """Made by Client.locks.

    Args:
        link: to the kernel.
        channel: for unary calls to it, with default deadlines and typed errors.
        settings: of the client.
        own: keeps what has to be closed with the client.
        namespace: of names that are not resource names.

    Raises:
        ValueError: the namespace is malformed.
    """

    def __init__(self, link: Link, channel: grpc.aio.Channel, settings: Settings, own: Owner, namespace: str) -> None:
        self._parent = parent_name(namespace)
        self._link = link
        self._channel = channel
        self._settings = settings
        self._own = own
        self._namespace = namespace

    def lock(self, name: str, *, ttl: float = 10.0, wait: float | None = None, label: str = "") -> Lock:
        """A lock, which one at a time holds, in the order in which they asked.

        Args:
            name: id or resource name.
            ttl: how long, in seconds, it is kept after the last sign of life; 1 to 3,600.
            wait: how long, in seconds, to wait for it: None for as long as it takes, 0 for not at all.
            label: what the holder calls itself, for people.

        Raises:
            ValueError: an id is malformed, or a number is out of its range.
        """
        return self.semaphore(name, 1, ttl=ttl, wait=wait, label=label)

    def semaphore(
        self,
        name: str,
        capacity: int,
        *,
        permits: int = 1,
        ttl: float = 10.0,
        wait: float | None = None,
        label: str = "",
    ) -> Lock:
        """Some permits of a counting semaphore. Who asks for many is not overtaken by those who ask for few.

        Args:
            name: id or resource name.
            capacity: permits in all, on which everybody must agree; at most 1,000.
            permits: how many of them.
            ttl, wait, label: as of a lock.

        Raises:
            ValueError: an id is malformed, or a number is out of its range.
        """
        check_permits(capacity, permits)
        check_wait(wait)
        full = lock_name(name, self._namespace)
        acquisition = LockAcquisition(name=full, capacity=capacity, permits=permits, label=label)
        acquisition.ttl.FromNanoseconds(check_ttl(ttl))
        if wait == 0:  # a longer one is measured here: it goes on over several streams
            acquisition.wait.SetInParent()
        holder = ClaimHolder(self._link, self._channel, self._settings, LockClaim(acquisition, ttl), wait)
        return self._own(Lock(full, holder))

    def election(self, name: str) -> Election:
        """An election, given by its id or resource name.

        Raises:
            ValueError: an id is malformed.
        """
        full = election_name(name, self._namespace)
        return Election(full, self._link, self._channel, self._settings, self._own)

    async def get(self, name: str) -> LockState:
        """A lock, who has it and who waits for it, given by its id or resource name.

        Raises:
            ValueError: an id is malformed.
            LockNotFoundError: nobody has it or waits for it.
            SiraError: the kernel refused, or is not there.
        """
        request = GetLockRequest(name=lock_name(name, self._namespace))
        return (await LockServiceStub(self._channel).GetLock(request)).lock

    async def list(self) -> list[LockState]:
        """The locks of the namespace, by name.

        Raises:
            SiraError: the kernel refused, or is not there.
        """
        found: list[LockState] = []
        request = ListLocksRequest(parent=self._parent, page_size=1000)
        while True:
            page = await LockServiceStub(self._channel).ListLocks(request)
            found += page.locks
            request.page_token = page.next_page_token
            if not request.page_token:
                return found
