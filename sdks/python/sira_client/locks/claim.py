"""What is claimed, and how it is said to the kernel: the part in which a lock and a campaign differ."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from enum import Enum
from typing import Any, Protocol

import grpc
from sira.cluster.v1.election_service_pb2 import (
    CampaignRenewal,
    CampaignRequest,
    CampaignResponse,
    Candidacy,
    Proclamation,
    ResignRequest,
)
from sira.cluster.v1.election_service_pb2_grpc import ElectionServiceStub
from sira.cluster.v1.lock_service_pb2 import (
    HoldLockRequest,
    HoldLockResponse,
    LockAcquisition,
    LockRenewal,
    ReleaseLockRequest,
)
from sira.cluster.v1.lock_service_pb2_grpc import LockServiceStub

from sira_client.link import Member

Call = grpc.aio.StreamStreamCall[Any, Any]

_SECRET_BYTES = 16


class Event(Enum):
    """What the kernel tells."""

    WAITING = "waiting"
    GRANTED = "granted"
    ALIVE = "alive"
    PROCLAIMED = "proclaimed"
    GIVEN_BACK = "given back"


@dataclass(frozen=True, slots=True)
class Told:
    """One thing that the kernel told.

    Attributes:
        event: what it is.
        key: of the claim; empty where it says nothing of it.
        token: fencing token, where it was granted.
    """

    event: Event
    key: str = ""
    token: int = 0


class Claim(Protocol):
    """Something that one can claim.

    Attributes:
        name: resource name.
        ttl: seconds.
        key: that it has, once it is there, from a kernel that takes the secret that is asked for.
    """

    name: str
    ttl: float
    key: str

    def open(self, member: Member) -> Call:
        """Opens a stream to a member."""

    def first(self, key: str) -> Any:
        """The first request: attaches with a key; claims, or attaches to what it has claimed, where that is empty."""

    def renew(self) -> Any:
        """The request that says that this process lives."""

    def read(self, response: Any) -> Told:
        """What a response tells."""

    async def give_back(self, channel: grpc.aio.Channel, key: str) -> None:
        """Gives the claim back without a stream.

        Raises:
            SiraError: that is not known to have been done.
        """


class LockClaim:
    """A lock, or some permits of a semaphore. See Claim."""

    def __init__(self, acquisition: LockAcquisition, ttl: float) -> None:
        self.name = acquisition.name
        self.ttl = ttl
        acquisition.key_secret = secrets.token_hex(_SECRET_BYTES)
        self.key = f"{acquisition.name}.{acquisition.key_secret}"
        self._acquisition = acquisition

    def open(self, member: Member) -> Call:
        """See Claim."""
        return LockServiceStub(member.channel).HoldLock()

    def first(self, key: str) -> HoldLockRequest:
        """See Claim."""
        return HoldLockRequest(lock_key=key) if key else HoldLockRequest(acquire=self._acquisition)

    def renew(self) -> HoldLockRequest:
        """See Claim."""
        return HoldLockRequest(renew=LockRenewal())

    def read(self, response: HoldLockResponse) -> Told:
        """See Claim."""
        match response.WhichOneof("event"):
            case "queued":
                return Told(Event.WAITING, response.queued.lock_key)
            case "acquired":
                return Told(Event.GRANTED, response.acquired.lock_key, response.acquired.token)
            case "released":
                return Told(Event.GIVEN_BACK)
            case _:
                return Told(Event.ALIVE)

    async def give_back(self, channel: grpc.aio.Channel, key: str) -> None:
        """See Claim."""
        await LockServiceStub(channel).ReleaseLock(ReleaseLockRequest(lock_key=key))


class CampaignClaim:
    """The lead of an election. See Claim."""

    def __init__(self, candidacy: Candidacy, ttl: float) -> None:
        self.name = candidacy.name
        self.ttl = ttl
        candidacy.key_secret = secrets.token_hex(_SECRET_BYTES)
        self.key = f"{candidacy.name}.{candidacy.key_secret}"
        self._candidacy = candidacy

    def open(self, member: Member) -> Call:
        """See Claim."""
        return ElectionServiceStub(member.channel).Campaign()

    def first(self, key: str) -> CampaignRequest:
        """See Claim."""
        return CampaignRequest(campaign_key=key) if key else CampaignRequest(stand=self._candidacy)

    def renew(self) -> CampaignRequest:
        """See Claim."""
        return CampaignRequest(renew=CampaignRenewal())

    def proclaim(self, value: bytes) -> CampaignRequest:
        """The request that proclaims something. Should it have to stand anew, it stands with this."""
        self._candidacy.value = value
        return CampaignRequest(proclaim=Proclamation(value=value))

    def read(self, response: CampaignResponse) -> Told:
        """See Claim."""
        match response.WhichOneof("event"):
            case "standing":
                return Told(Event.WAITING, response.standing.campaign_key)
            case "elected":
                return Told(Event.GRANTED, response.elected.campaign_key, response.elected.term)
            case "proclaimed":
                return Told(Event.PROCLAIMED)
            case "resigned":
                return Told(Event.GIVEN_BACK)
            case _:
                return Told(Event.ALIVE)

    async def give_back(self, channel: grpc.aio.Channel, key: str) -> None:
        """See Claim."""
        await ElectionServiceStub(channel).Resign(ResignRequest(campaign_key=key))
