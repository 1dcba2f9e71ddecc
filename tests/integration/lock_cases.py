"""What each RPC of locks and elections must refuse: one entry for every RPC, found by its full name."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.duration_pb2 import Duration
from google.protobuf.message import Message
from sira.cluster.v1 import election_service_pb2 as election
from sira.cluster.v1 import lock_service_pb2 as lock
from sira.cluster.v1.lock_service_pb2_grpc import LockServiceStub

from tests.integration.registry_kernel import Running
from tests.integration.registry_world import DEFAULT, Case, Code, broken, malformed, missing, refused

LOCK, FREE, ELECTION = f"{DEFAULT}/locks/held", f"{DEFAULT}/locks/free", f"{DEFAULT}/elections/x"
NOWHERE = "namespaces/nowhere"
LONG = "x" * 513
SECRETS = ("x", "x" * 21, "x" * 65, "x" * 21 + ".", "x" * 21 + "\n", "\u00fc" * 22, f" {'x' * 22}")
"""What is no secret of a key: too short to be one, too long, or with what a key must not have in it."""


@dataclass(frozen=True)
class World:
    """What is there before each case: a lock that is held, by whoever has the key, and a page of two locks."""

    key: str
    page_token: str


NOBODY = World(key="k", page_token="t")


async def prepare(kernel: Running) -> World:
    """Has two locks held."""
    locks: Any = LockServiceStub(kernel.channel)
    keys = []
    for name in (LOCK, f"{LOCK}-too"):
        wanted = lock.LockAcquisition(name=name, ttl=Duration(seconds=3600))
        keys.append((await locks.AcquireLock(lock.AcquireLockRequest(acquisition=wanted))).acquired.lock_key)
    page = await locks.ListLocks(lock.ListLocksRequest(parent=DEFAULT, page_size=1))
    return World(keys[0], page.next_page_token)


def cases(world: World) -> Mapping[str, list[Case]]:
    """What must be refused, by the full name of the RPC."""
    locks = {
        "HoldLock": [*_holding(), *_keys("lock_key", lock.HoldLockRequest, world)],
        "AcquireLock": list(_acquiring()),
        "RenewLock": list(_keys("lock_key", lock.RenewLockRequest, world)),
        "ReleaseLock": [broken("lock_key", lock.ReleaseLockRequest(lock_key=text)) for text in ("", LONG)],
        "GetLock": [*malformed("name", lock.GetLockRequest, "/locks/x"), *_nobodys()],
        "ListLocks": list(_listing(world)),
    }
    elections = {
        "Campaign": [*_standing(), *_keys("campaign_key", election.CampaignRequest, world)],
        "Observe": [
            *malformed("name", election.ObserveRequest, "/elections/x"),
            missing("NAMESPACE", election.ObserveRequest(name=f"{NOWHERE}/elections/x")),
        ],
        "GetElection": [
            *malformed("name", election.GetElectionRequest, "/elections/x"),
            missing("NAMESPACE", election.GetElectionRequest(name=f"{NOWHERE}/elections/x")),
        ],
        "Resign": [broken("campaign_key", election.ResignRequest(campaign_key=text)) for text in ("", LONG)],
    }
    services = {"LockService": locks, "ElectionService": elections}
    return {
        f"sira.cluster.v1.{service}/{rpc}": given for service, rpcs in services.items() for rpc, given in rpcs.items()
    }


def accepted(world: World) -> Mapping[str, Message]:
    """A request that each RPC takes: what is wrong with the others is what is different in them."""
    return {
        "HoldLock": lock.HoldLockRequest(acquire=lock.LockAcquisition(name=FREE)),
        "AcquireLock": lock.AcquireLockRequest(acquisition=lock.LockAcquisition(name=FREE)),
        "RenewLock": lock.RenewLockRequest(lock_key=world.key),
        "ReleaseLock": lock.ReleaseLockRequest(lock_key=world.key),
        "GetLock": lock.GetLockRequest(name=LOCK),
        "ListLocks": lock.ListLocksRequest(parent=DEFAULT, page_token=world.page_token),
        "Campaign": election.CampaignRequest(stand=election.Candidacy(name=ELECTION)),
        "Observe": election.ObserveRequest(name=ELECTION),
        "GetElection": election.GetElectionRequest(name=ELECTION),
        "Resign": election.ResignRequest(campaign_key="unknown"),
    }


def _acquisitions() -> Iterator[tuple[str, lock.LockAcquisition]]:
    """Acquisitions that break a rule, and the field that does."""
    for name in ("", "x", f"{DEFAULT}/locks/", f"{DEFAULT}/locks/X", f"{DEFAULT}/elections/x", f"{DEFAULT}/locks/x/y"):
        yield "name", lock.LockAcquisition(name=name)
    for ttl in (Duration(), Duration(nanos=999_999_999), Duration(seconds=3601), Duration(seconds=-1)):
        yield "ttl", lock.LockAcquisition(name=FREE, ttl=ttl)
    for wait in (Duration(seconds=-1), Duration(seconds=86_401)):
        yield "wait", lock.LockAcquisition(name=FREE, wait=wait)
    yield "capacity", lock.LockAcquisition(name=FREE, capacity=1001)
    yield "permits", lock.LockAcquisition(name=FREE, capacity=1000, permits=1001)
    yield "permits", lock.LockAcquisition(name=FREE, capacity=2, permits=3)
    yield "permits", lock.LockAcquisition(name=FREE, permits=2)
    yield "label", lock.LockAcquisition(name=FREE, label="x" * 257)
    for secret in SECRETS:
        yield "key_secret", lock.LockAcquisition(name=FREE, key_secret=secret)


def _refused_acquisitions() -> Iterator[tuple[Code, str, lock.LockAcquisition]]:
    """Acquisitions that are well-formed, and are refused."""
    yield Code.NOT_FOUND, "NAMESPACE_NOT_FOUND", lock.LockAcquisition(name=f"{NOWHERE}/locks/x")
    yield Code.FAILED_PRECONDITION, "LOCK_HELD", lock.LockAcquisition(name=LOCK, wait=Duration())
    yield Code.FAILED_PRECONDITION, "LOCK_CAPACITY_DIFFERS", lock.LockAcquisition(name=LOCK, capacity=2)


def _acquiring() -> Iterator[Case]:
    yield broken("acquisition", lock.AcquireLockRequest())
    for field, wanted in _acquisitions():
        yield broken(f"acquisition.{field}", lock.AcquireLockRequest(acquisition=wanted))
    for code, reason, wanted in _refused_acquisitions():
        yield refused(code, reason, lock.AcquireLockRequest(acquisition=wanted))


def _holding() -> Iterator[Case]:
    yield broken("step")
    yield broken("step", lock.HoldLockRequest())
    yield broken("step", lock.HoldLockRequest(renew=lock.LockRenewal()))
    for field, wanted in _acquisitions():
        yield broken(f"acquire.{field}", lock.HoldLockRequest(acquire=wanted))
    for code, reason, wanted in _refused_acquisitions():
        yield refused(code, reason, lock.HoldLockRequest(acquire=wanted))


def _standing() -> Iterator[Case]:
    yield broken("step")
    yield broken("step", election.CampaignRequest())
    yield broken("step", election.CampaignRequest(renew=election.CampaignRenewal()))
    yield broken("step", election.CampaignRequest(proclaim=election.Proclamation()))
    for name in ("", f"{DEFAULT}/elections/X", f"{DEFAULT}/locks/x"):
        yield broken("stand.name", election.CampaignRequest(stand=election.Candidacy(name=name)))
    for ttl in (Duration(), Duration(seconds=3601)):
        yield broken("stand.ttl", election.CampaignRequest(stand=election.Candidacy(name=ELECTION, ttl=ttl)))
    large = election.Candidacy(name=ELECTION, value=bytes(65_537))
    yield broken("stand.value", election.CampaignRequest(stand=large))
    yield broken("stand.label", election.CampaignRequest(stand=election.Candidacy(name=ELECTION, label="x" * 257)))
    for secret in SECRETS:
        stand = election.Candidacy(name=ELECTION, key_secret=secret)
        yield broken("stand.key_secret", election.CampaignRequest(stand=stand))
    yield missing("NAMESPACE", election.CampaignRequest(stand=election.Candidacy(name=f"{NOWHERE}/elections/x")))


def _keys(field: str, kind: type[Message], world: World) -> Iterator[Case]:
    for text in ("", LONG):
        yield broken(field, kind(**{field: text}))
    wrong = world.key.rpartition(".")[0] + ".0000"
    for text in ("x", "a.b", "a.b.c", "locks/default/held.x.y", wrong, world.key + "x"):
        yield refused(Code.FAILED_PRECONDITION, "LOCK_LOST", kind(**{field: text}))


def _nobodys() -> Iterator[Case]:
    for name in (f"{DEFAULT}/locks/none", f"{NOWHERE}/locks/x"):
        yield missing("LOCK", lock.GetLockRequest(name=name))


def _listing(world: World) -> Iterator[Case]:
    yield from malformed("parent", lock.ListLocksRequest)
    yield missing("NAMESPACE", lock.ListLocksRequest(parent=NOWHERE))
    for size in (-1, 1001):
        yield broken("page_size", lock.ListLocksRequest(parent=DEFAULT, page_size=size))
    yield broken("page_token", lock.ListLocksRequest(parent=DEFAULT, page_token="x" * 1025))
    for token in ("x", "!", world.page_token[::-1]):
        request = lock.ListLocksRequest(parent=DEFAULT, page_token=token)
        yield refused(Code.INVALID_ARGUMENT, "INVALID_PAGE_TOKEN", request)
