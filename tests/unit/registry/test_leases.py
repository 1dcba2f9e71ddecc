from __future__ import annotations

import asyncio

import pytest
from sira.registry.internal.v1.lease_record_pb2 import LeaseRecord
from sira.registry.v1.lease_pb2 import LeaseState

from sira_grpc.errors import LeaseNotFound, LeaseNotYours
from sira_grpc.registry import names
from sira_grpc.registry.lease_key import LeaseKey
from sira_grpc.registry.leases import STALE_ENTRIES, LeaseTable
from sira_grpc.registry.view import RegistryView
from sira_grpc.store import Change, Commit
from sira_grpc.times import duration, timestamp
from tests.clocks import FakeClock
from tests.unit.registry.world import seeded_bytes

TTL = 10.0


class Table:
    """A lease table over a view that is fed by hand."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.view = RegistryView(self.clock)
        self.leases = LeaseTable(self.view, self.clock)
        self.view.hooks.lease_gone.append(self.leases.forget)
        self._random_bytes = seeded_bytes(1)
        self._revision = 0

    def put(self, *, created: bool = True, suspect: bool = False) -> LeaseKey:
        """Brings a lease into the view."""
        key = LeaseKey.make(self._random_bytes)
        record = LeaseRecord(ttl=duration(TTL), secret_sha256=key.secret_sha256)
        if suspect:
            record.suspect_time.CopyFrom(timestamp(1))
        if created:
            self.leases.created(key.id, TTL)
        self._apply(key.id, record.SerializeToString())
        return key

    def delete(self, key: LeaseKey) -> None:
        self._apply(key.id, None)

    def _apply(self, lease: str, value: bytes | None) -> None:
        self._revision += 1
        change = Change(names.LEASES + lease, value, self._revision)
        self.view.apply(Commit(self._revision, (change,)))

    def expires_at(self, key: LeaseKey, *, step: float = 0.5) -> float:
        """Moves time until the lease is due, and says how long that took."""
        waited = 0.0
        while key.id not in self.leases.due():
            self.clock.advance(step)
            waited += step
        return waited


@pytest.fixture
def table() -> Table:
    return Table()


def test_a_key_opens_its_lease(table: Table) -> None:
    key = table.put()
    assert table.leases.open(str(key)).id == key.id
    with pytest.raises(LeaseNotYours) as wrong:
        table.leases.open(f"{key.id}.{'0' * 32}")
    assert wrong.value.metadata == {"lease": f"leases/{key.id}"}
    table.delete(key)
    for gone in (str(key), "", "x", "x.y"):
        with pytest.raises(LeaseNotFound):
            table.leases.open(gone)


def test_a_lease_that_nobody_renews_is_due_after_its_ttl(table: Table) -> None:
    assert table.expires_at(table.put()) == TTL


def test_renewing_puts_it_off(table: Table) -> None:
    key = table.put()
    for _ in range(5):
        table.clock.advance(TTL - 1)
        assert table.leases.due() == []
        assert not table.leases.renew(key.id)
    assert table.expires_at(key) == TTL


async def test_a_lease_that_a_stream_holds_is_never_due(table: Table) -> None:
    key = table.put()
    hold = table.leases.attach(key.id)
    table.clock.advance(100 * TTL)
    assert table.leases.due() == []
    assert not table.leases.renew(key.id)
    assert table.leases.lost(hold)
    assert not table.leases.lost(hold)
    assert table.leases[key.id].state == LeaseState.LEASE_STATE_SUSPECT
    assert table.expires_at(key) == TTL


async def test_attaching_again_stops_the_ttl(table: Table) -> None:
    key = table.put()
    hold = table.leases.attach(key.id)
    table.leases.lost(hold)
    table.clock.advance(TTL - 1)
    assert table.leases.is_suspect(key.id)
    table.leases.attach(key.id)
    assert not table.leases.is_suspect(key.id)
    table.clock.advance(2 * TTL)
    assert table.leases.due() == []


async def test_attaching_ends_the_older_hold(table: Table) -> None:
    key = table.put()
    first = table.leases.attach(key.id)
    second = table.leases.attach(key.id)
    assert first.ended.done()
    assert not second.ended.done()
    assert not table.leases.lost(first)
    assert table.leases[key.id].state == LeaseState.LEASE_STATE_HELD


async def test_a_lease_that_is_gone_ends_its_hold(table: Table) -> None:
    key = table.put()
    hold = table.leases.attach(key.id)
    table.delete(key)
    assert hold.ended.done()
    assert not table.leases.lost(hold)


def test_renewing_a_suspect_says_so(table: Table) -> None:
    key = table.put(created=False, suspect=True)
    table.leases.recover()
    assert not table.leases.holds(key.id)
    assert table.leases.renew(key.id)
    assert not table.leases.renew(key.id)
    assert table.leases.holds(key.id)


def test_after_a_restart_everybody_has_one_ttl(table: Table) -> None:
    key, suspect = table.put(created=False), table.put(created=False, suspect=True)
    table.clock.advance(1000)
    table.leases.recover()
    assert table.leases[key.id].state == LeaseState.LEASE_STATE_RECOVERING
    assert table.leases[suspect.id].state == LeaseState.LEASE_STATE_SUSPECT
    table.clock.advance(TTL - 1)
    assert table.leases.due() == []
    table.clock.advance(1)
    assert sorted(table.leases.due()) == sorted([key.id, suspect.id])


def test_what_is_due_comes_up_again_until_it_is_gone(table: Table) -> None:
    key = table.put()
    table.clock.advance(TTL)
    assert table.leases.due() == [key.id]
    assert table.leases.due() == []
    assert table.expires_at(key) == 1.0
    table.delete(key)
    table.clock.advance(TTL)
    assert table.leases.due() == []


def test_what_was_due_and_is_renewed_is_not_due(table: Table) -> None:
    key = table.put()
    table.clock.advance(TTL)
    assert table.leases.due() == [key.id]
    table.leases.renew(key.id)
    assert not table.leases.close_if_due(key.id)
    assert table.expires_at(key) == TTL


async def test_only_what_nobody_uses_is_closed(table: Table) -> None:
    key, held, gone = table.put(), table.put(), table.put()
    table.delete(gone)
    table.leases.attach(held.id)
    table.clock.advance(TTL)
    with table.leases.writing(key.id):
        assert not table.leases.close_if_due(key.id)
    assert not table.leases.close_if_due(held.id)
    assert not table.leases.close_if_due(gone.id)
    assert table.leases.close_if_due(key.id)
    assert not table.leases.close_if_due(key.id)
    with pytest.raises(LeaseNotFound):
        table.leases.open(str(key))
    with pytest.raises(LeaseNotFound), table.leases.writing(key.id):
        pass
    table.leases.reopen(key.id)
    assert table.leases.open(str(key)).id == key.id


async def test_removing_waits_for_what_is_being_registered(table: Table) -> None:
    key = table.put()
    removed = asyncio.Event()

    async def remove() -> None:
        async with table.leases.removing(key.id):
            table.delete(key)
            removed.set()

    with table.leases.writing(key.id), table.leases.writing(key.id):
        task = asyncio.create_task(remove())
        for _ in range(5):
            await asyncio.sleep(0)
        assert not removed.is_set()
        with pytest.raises(LeaseNotFound), table.leases.writing(key.id):
            pass
        with pytest.raises(LeaseNotFound):
            async with table.leases.removing(key.id):
                pass
    await task
    with pytest.raises(LeaseNotFound):
        async with table.leases.removing(key.id):
            pass


async def test_what_could_not_be_removed_can_be_used(table: Table) -> None:
    key = table.put()
    with pytest.raises(RuntimeError):
        async with table.leases.removing(key.id):
            raise RuntimeError("cannot")
    with table.leases.writing(key.id):
        pass
    assert table.expires_at(key) == TTL


@pytest.mark.parametrize(
    ("waited", "window", "at_risk"), [(0, 100.0, False), (5, 100.0, False), (7, 100.0, True), (7, 2.0, False)]
)
def test_a_lease_that_is_renewed_is_at_risk_once_a_renewal_was_missed(
    table: Table, waited: float, window: float, at_risk: bool
) -> None:
    key = table.put()
    table.clock.advance(waited)
    assert table.leases.at_risk(key.id, window) == at_risk


async def test_a_suspect_is_at_risk_within_the_window(table: Table) -> None:
    key = table.put()
    hold = table.leases.attach(key.id)
    assert not table.leases.at_risk(key.id, 100.0)
    table.leases.lost(hold)
    assert table.leases.at_risk(key.id, TTL)
    assert not table.leases.at_risk(key.id, TTL - 1)
    table.delete(key)
    assert table.leases.at_risk(key.id, 0.0)


async def test_a_stream_that_is_lost_again_and_again_takes_no_memory(table: Table) -> None:
    key = table.put()
    for _ in range(100):
        hold = table.leases.attach(key.id)
        table.leases.lost(hold)
    assert len(table.leases._heap) == 1


def test_leases_that_are_gone_take_no_memory(table: Table) -> None:
    kept = table.put()
    for _ in range(2 * STALE_ENTRIES):
        table.delete(table.put())
    assert len(table.leases._heap) <= STALE_ENTRIES + 4
    assert table.expires_at(kept) == TTL


def test_time_that_is_lost_puts_off_every_deadline(table: Table) -> None:
    key = table.put()
    table.clock.advance(TTL - 1)
    table.leases.lose(100)
    assert table.leases.left(table.leases.open(str(key))) == 101
    assert table.expires_at(key) == 101


def test_time_that_is_lost_puts_off_no_later_renewal(table: Table) -> None:
    key = table.put()
    table.clock.advance(TTL - 1)
    table.leases.renew(key.id)
    assert table.leases.due() == []
    for _ in range(3):
        table.leases.lose(100)
        table.clock.advance(1)
        assert table.leases.due() == []
        table.leases.renew(key.id)
    assert table.expires_at(key) == TTL
    assert len(table.leases._heap) <= 4
