"""What callers do with elections: stand, proclaim, resign, and observe who leads."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from sira.cluster.v1.election_service_pb2 import (
    CampaignAlive,
    CampaignElected,
    CampaignProclaimed,
    CampaignRequest,
    CampaignResigned,
    CampaignResponse,
    CampaignStanding,
    Candidacy,
    Election,
    Leader,
)

from sira_grpc.cluster import lock_names
from sira_grpc.cluster.claim_keeper import Wish
from sira_grpc.cluster.claim_key import ClaimKey
from sira_grpc.cluster.claim_session import Begun, ClaimSession, Ended, Event, Granted, Parts, Queued, Taken
from sira_grpc.cluster.locks import DEFAULT_TTL
from sira_grpc.errors import FieldViolation, InvalidField, LockLost


class Elections:
    """The commands on elections, and reads of them from the view."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    async def campaign(
        self, requests: AsyncIterator[CampaignRequest], owner: str
    ) -> AsyncGenerator[CampaignResponse, None]:
        """Stands, or attaches to a campaign, as the first request says, and leads for as long as requests renew it.

        Raises, from the iteration:
            InvalidField, NamespaceNotFound, LimitExceeded: it does not stand, or what it proclaims is refused.
            LockLost: the campaign is over.
            LeaseSuperseded: another stream attached to it.
            Conflict, StoreUnavailable: it could not be written.
        """
        first = await anext(aiter(requests), None)
        step = first.WhichOneof("step") if first is not None else None
        if first is None or step not in ("stand", "campaign_key"):
            raise InvalidField([FieldViolation("step", "must be stand or campaign_key in the first request")])
        keeper = self._parts.keeper
        if step == "campaign_key":
            begun = Begun(await keeper.take(first.campaign_key))
        else:
            begun = Begun(await keeper.join(_wish(first.stand, owner)))
        session = ClaimSession(self._parts, begun, requests, self._go_on)
        async with aclosing(session.events()) as events:
            async for event in events:
                yield _response(event)

    async def _go_on(self, request: CampaignRequest, key: ClaimKey) -> bool:
        match request.WhichOneof("step"):
            case "renew":
                return True
            case "proclaim":
                await self._parts.keeper.proclaim(key, request.proclaim.value)
                return False
        raise InvalidField([FieldViolation("step", "must be renew or proclaim after the first request")])

    async def resign(self, campaign_key: str) -> None:
        """Ends a campaign. What is gone already is no error.

        Raises:
            Conflict, StoreUnavailable: it is there still, or that is not known.
        """
        try:
            key = await self._parts.keeper.open(campaign_key)
        except LockLost:
            return
        await self._parts.keeper.leave(key)

    def get(self, name: str) -> Election:
        """Returns an election as this member knows it, also where nobody stands.

        Raises:
            NamespaceNotFound.
        """
        key = lock_names.key_of(name)
        self._parts.room.check_namespace(lock_names.namespace_of(key))
        return self._described(key)

    async def observe(self, name: str) -> AsyncGenerator[Election, None]:
        """Yields an election as it is, and then each time that another leads, or proclaims something else.

        A slow reader is told what is true when it is ready.

        Raises, from the iteration:
            NamespaceNotFound: at the beginning.
            KernelStopping.
        """
        view, key = self._parts.view, lock_names.key_of(name)
        told: Leader | None = None
        first = True
        with view.signalled(key) as signal:
            while True:
                news = signal.fired()
                view.check_open()
                election = self.get(name) if first else self._described(key)
                leader = election.leader if election.HasField("leader") else None
                if first or leader != told:
                    first, told = False, leader
                    yield election
                else:
                    await news

    def _described(self, key: str) -> Election:
        entry = self._parts.view.entries.get(key)
        name = lock_names.name_of(key)
        if entry is None:
            return Election(name=name, revision=self._parts.view.revision)
        claim = entry.record.holders[0]
        leader = Leader(
            label=claim.label,
            value=claim.value,
            term=claim.token,
            owner=claim.owner,
            elect_time=claim.acquire_time,
        )
        return Election(name=name, leader=leader, candidates=len(entry.record.waiters), revision=entry.revision)


def _wish(candidacy: Candidacy, owner: str) -> Wish:
    return Wish(
        lock=lock_names.key_of(candidacy.name),
        ttl=candidacy.ttl if candidacy.HasField("ttl") else DEFAULT_TTL,
        capacity=1,
        permits=1,
        label=candidacy.label,
        owner=owner,
        value=candidacy.value,
        secret=candidacy.key_secret,
    )


def _response(event: Event) -> CampaignResponse:
    match event:
        case Queued(key, ahead):
            return CampaignResponse(standing=CampaignStanding(campaign_key=key, ahead=ahead))
        case Granted(key, token, ttl):
            return CampaignResponse(elected=CampaignElected(campaign_key=key, term=token, ttl=ttl))
        case Ended():
            return CampaignResponse(resigned=CampaignResigned())
        case Taken():
            return CampaignResponse(proclaimed=CampaignProclaimed())
        case _:
            return CampaignResponse(alive=CampaignAlive())
