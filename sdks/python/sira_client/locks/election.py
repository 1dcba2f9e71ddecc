"""An election: stand for it, and observe who leads."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import grpc
from sira.cluster.v1.election_service_pb2 import Candidacy, GetElectionRequest, Leader
from sira.cluster.v1.election_service_pb2_grpc import ElectionServiceStub

from sira_client.link import Link
from sira_client.locks.claim import CampaignClaim
from sira_client.locks.claim_holder import ClaimHolder
from sira_client.locks.leadership import Leadership
from sira_client.locks.observing import observe
from sira_client.locks.terms import check_ttl, check_wait
from sira_client.settings import Settings


class Election:
    """Made by Locks.election.

    Args:
        name: resource name.
        link: to the kernel.
        channel: for unary calls to it.
        settings: of the client.
        own: keeps what has to be closed with the client.
    """

    def __init__(
        self,
        name: str,
        link: Link,
        channel: grpc.aio.Channel,
        settings: Settings,
        own: Callable[[Leadership], Leadership],
    ) -> None:
        self.name = name
        self._link = link
        self._channel = channel
        self._settings = settings
        self._own = own

    def campaign(
        self, value: bytes = b"", *, label: str = "", ttl: float = 10.0, wait: float | None = None
    ) -> Leadership:
        """Stands, and leads from the beginning of the `async with` block to its end.

        Args:
            value: what to proclaim to observers, such as an address; at most 64 KiB.
            label: what it calls itself, for people.
            ttl: how long, in seconds, it leads, or keeps its turn, after its last sign of life; 1 to 3,600.
            wait: how long, in seconds, to wait until it leads; None for as long as it takes.

        Raises:
            ValueError: a number is out of its range.
        """
        candidacy = Candidacy(name=self.name, label=label, value=value)
        candidacy.ttl.FromNanoseconds(check_ttl(ttl))
        check_wait(wait)
        claim = CampaignClaim(candidacy, ttl)
        holder = ClaimHolder(self._link, self._channel, self._settings, claim, wait)
        return self._own(Leadership(self.name, holder, claim))

    async def leader(self) -> Leader | None:
        """Who leads now; None if nobody does.

        Raises:
            SiraError: the kernel refused, or is not there.
        """
        request = GetElectionRequest(name=self.name)
        election = (await ElectionServiceStub(self._channel).GetElection(request)).election
        return election.leader if election.HasField("leader") else None

    def observe(self) -> AsyncIterator[Leader | None]:
        """Yields who leads, None for nobody, and then each that comes to lead, or proclaims something else, for ever.

        A slow reader gets fewer, the latest last. No leader is told after one that came later.

        Raises:
            SiraError: from the iteration: the kernel refused.
        """
        return observe(self._link, self._settings, self.name)
