from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sira.cluster.v1.election_service_pb2 import CampaignRequest, Proclamation

from sira_grpc.errors import InvalidField, LockLost, NamespaceNotFound
from tests.unit.cluster.locking_world import ELECTION, CampaignStream, Requests, World, candidacy, world


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.member("a")
        await made.member("b")
        yield made


async def test_candidates_lead_in_their_order_and_are_observed(two: World) -> None:
    a, b = two.members["a"], two.members["b"]
    observed = b.elections.observe(ELECTION)
    assert not (await anext(observed)).HasField("leader")
    first, second = CampaignStream(a, candidacy("1", b"one")), CampaignStream(b, candidacy("2", b"two"))
    term = (await first.until("elected")).term
    election = await anext(observed)
    assert (election.leader.label, election.leader.value, election.leader.term) == ("1", b"one", term)
    assert (await second.until("standing")).ahead == 0
    assert b.elections.get(ELECTION).candidates == 1
    first.requests.send(CampaignRequest(proclaim=Proclamation(value=b"other")))
    await first.until("proclaimed")
    election = await anext(observed)
    assert (election.leader.value, election.leader.term) == (b"other", term)
    await first.resign()
    assert (await second.until("elected")).term > term
    election = await anext(observed)
    assert (election.leader.label, election.leader.value) == ("2", b"two")
    await second.resign()
    assert not (await anext(observed)).HasField("leader")
    await observed.aclose()


async def test_a_slow_observer_is_told_what_is_true_then(two: World) -> None:
    a = two.members["a"]
    observed = a.elections.observe(ELECTION)
    await anext(observed)
    terms = []
    for _ in range(5):
        stream = CampaignStream(a, candidacy())
        terms.append((await stream.until("elected")).term)
        if len(terms) < 5:
            await stream.resign()
    assert (await anext(observed)).leader.term == terms[-1]
    await stream.resign()
    await observed.aclose()


async def test_a_candidate_proclaims_while_it_waits_and_goes_to_another_member(two: World) -> None:
    a, b = two.members["a"], two.members["b"]
    first, second = CampaignStream(a, candidacy()), CampaignStream(a, candidacy("2"))
    await first.until("elected")
    key = (await second.until("standing")).campaign_key
    second.requests.send(CampaignRequest(proclaim=Proclamation(value=b"later")))
    await second.until("proclaimed")
    moved = CampaignStream(b, key)
    await moved.until("standing")
    await first.resign()
    await moved.until("elected")
    assert b.elections.get(ELECTION).leader.value == b"later"
    await a.elections.resign(key)
    await a.elections.resign(key)
    with pytest.raises(LockLost):
        await moved.until("resigned")


async def test_what_is_wrong_is_refused(two: World) -> None:
    a = two.members["a"]
    with pytest.raises(NamespaceNotFound):
        a.elections.get("namespaces/no/elections/x")
    with pytest.raises(NamespaceNotFound):
        await anext(a.elections.observe("namespaces/no/elections/x"))
    proclaiming = Requests(CampaignRequest(proclaim=Proclamation()))
    with pytest.raises(InvalidField, match="step"):
        await anext(a.elections.campaign(proclaiming, "me"))
    stream = CampaignStream(a, candidacy())
    await stream.until("elected")
    stream.requests.send(CampaignRequest(stand=candidacy()))
    with pytest.raises(InvalidField, match="step"):
        await stream.until("proclaimed")
    with pytest.raises(LockLost):
        await CampaignStream(a, "x").until("elected")


async def test_observers_end_with_the_view(two: World) -> None:
    observed = two.members["b"].elections.observe(ELECTION)
    await anext(observed)
    waiting = asyncio.ensure_future(anext(observed))
    await asyncio.sleep(0)
    await two.kill("b")
    with pytest.raises(Exception, match="stopping"):
        await waiting
