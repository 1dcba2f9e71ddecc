from __future__ import annotations

import random
from collections.abc import Iterable

from sira_grpc.bus.delivery import MAX_DELIVERIES, TERMINATED, Dead, Outcome, Retry, RetryRule, Taken
from sira_grpc.bus.ordered_deliveries import OrderedDeliveries
from sira_grpc.bus.spans import Spans

RULE = RetryRule(max_deliveries=3, min_backoff=1.0, max_backoff=600.0)
EVERYTHING = (0, 1 << 62)
NOW = 1_000.0
TIMEOUT = 30.0


def made(
    keys: str = "",
    *,
    settled: Spans | None = None,
    retries: Iterable[Retry] = (),
    rule: RetryRule = RULE,
    max_outstanding: int = 1_000,
) -> OrderedDeliveries:
    """A machine with a record for each letter, its key; a dot is none."""
    spans = Spans() if settled is None else settled
    machine = OrderedDeliveries(
        rule, rng=random.Random(1), settled=spans, retries=retries, max_outstanding=max_outstanding
    )
    offer(machine, keys)
    return machine


def offer(machine: OrderedDeliveries, keys: str) -> None:
    machine.offer(machine.next, machine.next + len(keys), [key.strip(".").encode() for key in keys])


def take(machine: OrderedDeliveries, consumer: int = 1, records: int = 1_000, now: float = NOW) -> list[Taken]:
    return machine.take(consumer, records, now, TIMEOUT)


def test_a_key_goes_to_one_consumer_at_a_time() -> None:
    machine = made("aabb")
    assert take(machine, 1, 1) == [Taken(0, 1, 1)]
    assert take(machine, 2) == [Taken(2, 4, 1)]
    assert not machine.ready(NOW, 2)
    assert machine.ready(NOW, 1)
    assert machine.ready(NOW)
    assert take(machine, 1) == [Taken(1, 2, 1)]
    assert not machine.ready(NOW)


def test_a_key_whose_records_are_settled_is_free_again() -> None:
    machine = made("aab")
    assert take(machine, 1, 1) == [Taken(0, 1, 1)]
    assert machine.ack(1, 0, 1) == Outcome(settled=[(0, 1)])
    assert take(machine, 2) == [Taken(1, 3, 1)]


def test_records_without_a_key_are_not_ordered() -> None:
    machine = made()
    machine.offer(0, 4)
    assert take(machine, 1, 2) == [Taken(0, 2, 1)]
    assert take(machine, 2) == [Taken(2, 4, 1)]
    machine.nak(1, 0, 1, now=NOW)
    assert machine.ack(1, 1, 2).settled == [(1, 2)]


def test_keys_have_their_turns_for_one_record_each() -> None:
    machine = made("aaaabc")
    assert take(machine, 1, 3) == [Taken(0, 1, 1), Taken(4, 6, 1)]
    assert take(machine, 1, 1) == [Taken(1, 2, 1)]
    offer(machine, "d")
    assert [take(machine, 1, 1)[0].first for _ in range(3)] == [2, 6, 3]


def test_an_ack_settles_nothing_while_an_earlier_record_of_the_key_is_out() -> None:
    machine = made("abaa")
    take(machine)
    assert machine.ack(1, 1, 3) == Outcome(settled=[(1, 2)], held=[2])
    assert machine.ack(1, 2, 3) == Outcome(stale=[(2, 3)])
    assert machine.outstanding == 2
    assert machine.ack(1, 0, 1) == Outcome(settled=[(0, 1), (2, 3)])
    assert machine.ack(1, 3, 4).settled == [(3, 4)]
    assert machine.room() == 2_000


def test_what_follows_a_record_that_goes_back_goes_back_too() -> None:
    machine = made("aabaa")
    take(machine, 1, 4)
    machine.ack(1, 4, 5)
    take(machine, 1)
    machine.ack(1, 4, 5)
    outcome = machine.nak(1, 1, 2, now=NOW, delay=5.0)
    assert outcome == Outcome(retries=[Retry(1, 2, 1, NOW + 5.0)])
    assert machine.ack(1, 3, 5).stale == [(3, 5)]
    assert machine.ack(1, 0, 1).settled == [(0, 1)]
    assert take(machine, 2, now=NOW + 4) == []
    assert machine.due() == NOW + 5.0
    assert take(machine, 2, now=NOW + 5) == [Taken(1, 2, 2), Taken(3, 5, 1)]


def test_a_key_that_waits_holds_up_no_other() -> None:
    machine = made("ab" * 10)
    take(machine, 1, 1)
    machine.nak(1, 0, 1, now=NOW, delay=60.0)
    assert [taken.first for taken in take(machine, 2)] == list(range(1, 20, 2))
    assert machine.retrying == 1


def test_the_owner_may_get_what_it_gave_back_while_it_has_earlier_records() -> None:
    machine = made("aaa")
    take(machine)
    machine.nak(1, 1, 2, now=NOW, delay=1.0)
    assert take(machine, 2, now=NOW + 1) == []
    assert take(machine, 1, now=NOW + 1) == [Taken(1, 2, 2), Taken(2, 3, 1)]


def test_each_record_that_is_given_back_by_name_counts() -> None:
    machine = made("aaa")
    take(machine)
    outcome = machine.nak(1, 0, 2, now=NOW, delay=1.0)
    assert outcome == Outcome(retries=[Retry(0, 2, 1, NOW + 1.0)])
    assert machine.retry_spans(NOW) == [Retry(0, 2, 1, NOW + 1.0)]
    assert machine.due() == NOW + 1.0
    assert take(machine, 2, now=NOW + 1) == [Taken(0, 2, 2), Taken(2, 3, 1)]


def test_records_that_die_together_are_told_as_ranges_in_order() -> None:
    machine = made("aab", rule=RetryRule(1, 1.0, 1.0))
    take(machine)
    assert machine.nak(1, *EVERYTHING, now=NOW).dead == [Dead(0, 3, 1, MAX_DELIVERIES, 1, "")]


def test_of_a_key_that_is_kept_too_long_the_first_record_counts() -> None:
    machine = made("aaba")
    take(machine)
    (first, second) = machine.expire(NOW + TIMEOUT).retries
    assert (first[:3], second[:3]) == ((0, 1, 1), (2, 3, 1))
    assert first.due == second.due
    assert take(machine, 2, now=NOW + 40) == [Taken(0, 1, 2), Taken(1, 2, 1), Taken(2, 3, 2), Taken(3, 4, 1)]


def test_what_a_lost_consumer_had_is_due_at_once_and_the_first_of_each_key_counts() -> None:
    machine = made("aabb")
    take(machine)
    machine.ack(1, 1, 3)
    assert machine.leave(1, NOW, counted=True) == Outcome(retries=[Retry(0, 1, 1, NOW), Retry(3, 4, 1, NOW)])
    assert take(machine, 2) == [Taken(0, 1, 2), Taken(1, 2, 1), Taken(3, 4, 2)]


def test_what_a_consumer_had_that_left_in_good_order_goes_on_as_before() -> None:
    machine = made("aab")
    take(machine)
    machine.nak(1, 0, 1, now=NOW, delay=0.0)
    take(machine)
    assert machine.leave(1, NOW, counted=False) == Outcome()
    assert (machine.outstanding, machine.due()) == (0, None)
    assert take(machine, 2) == [Taken(0, 1, 2), Taken(1, 3, 1)]


def test_what_could_not_be_sent_is_taken_as_never_before_with_what_follows_it() -> None:
    machine = made("aaba")
    take(machine)
    machine.untake(1, 1, 2)
    assert machine.ack(1, 3, 4).stale == [(3, 4)]
    assert take(machine, 2) == []
    assert take(machine, 1) == [Taken(1, 2, 1), Taken(3, 4, 1)]


def test_after_a_dead_record_its_key_waits_until_it_is_buried() -> None:
    machine = made("aaaab", rule=RetryRule(1, 1.0, 1.0))
    take(machine, 1, 3)
    assert machine.nak(1, 0, 1, now=NOW, detail="no").dead == [Dead(0, 1, 1, MAX_DELIVERIES, 1, "no")]
    assert machine.ack(1, 1, 2).stale == [(1, 2)]
    assert take(machine) == []
    assert machine.bury(0, 1) == Outcome()
    assert machine.settled.floor == 1
    assert take(machine, 2) == [Taken(1, 4, 1)]


def test_what_was_with_a_consumer_after_a_dead_record_stays_there() -> None:
    machine = made("aaab")
    take(machine, 1, 3)
    assert machine.terminate(1, 0, 1, detail="bad").dead == [Dead(0, 1, 1, TERMINATED, 1, "bad")]
    machine.bury(0, 1)
    assert take(machine, 2) == []
    assert machine.ack(1, 1, 2).settled == [(1, 2)]
    assert take(machine, 2) == [Taken(2, 3, 1)]


def test_a_dead_letter_that_could_not_be_written_takes_back_what_follows() -> None:
    machine = made("aaa")
    take(machine)
    machine.terminate(1, 0, 1)
    machine.ack(1, 1, 2)
    machine.revive(0, 1, NOW)
    assert machine.ack(1, 2, 3).stale == [(2, 3)]
    assert take(machine, 2, now=NOW + 0.9) == []
    assert take(machine, 2, now=NOW + 1.0) == [Taken(0, 3, 1)]


def test_a_dead_record_in_the_middle_waits_for_nobody_and_nobody_passes_it() -> None:
    machine = made("aaaa")
    take(machine, 1, 3)
    machine.terminate(1, 1, 2)
    machine.nak(1, 0, 1, now=NOW, delay=1.0)
    assert take(machine, 2, now=NOW + 1) == [Taken(0, 1, 2)]
    assert take(machine, 2, now=NOW + 1) == []
    machine.revive(1, 2, NOW + 1)
    assert take(machine, 2, now=NOW + 2) == [Taken(1, 4, 1)]


def test_a_dead_record_that_is_revived_waits_behind_one_that_waits_longer() -> None:
    machine = made("aaa")
    take(machine)
    machine.nak(1, 1, 2, now=NOW, delay=0.0)
    take(machine)
    machine.terminate(1, 1, 2)
    machine.nak(1, 0, 1, now=NOW, delay=5.0)
    machine.revive(1, 2, NOW)
    assert machine.retrying == 2
    assert take(machine, 2, now=NOW + 4) == []
    assert take(machine, 2, now=NOW + 5) == [Taken(0, 2, 2), Taken(2, 3, 1)]


def test_what_is_skipped_is_settled_unless_a_consumer_has_it() -> None:
    machine = made("aaabb")
    take(machine, 1, 3)
    machine.ack(1, 1, 2)
    machine.terminate(1, 3, 4)
    assert machine.skip(*EVERYTHING) == Outcome(settled=[(1, 1 << 62)])
    assert machine.next == 1 << 62
    assert machine.ack(1, 0, 1).settled == [(0, 1)]
    assert (machine.outstanding, machine.due(), machine.room()) == (0, None, 2_000)


def test_a_key_goes_on_after_what_is_skipped() -> None:
    machine = made("aab")
    take(machine, 1, 1)
    machine.nak(1, 0, 1, now=NOW, delay=60.0)
    assert machine.skip(0, 1).settled == [(0, 1)]
    assert (machine.retrying, machine.due()) == (0, None)
    assert take(machine, 2) == [Taken(1, 3, 1)]


def test_the_window_is_twice_what_may_be_outstanding() -> None:
    machine = made("a" * 12, max_outstanding=8)
    assert machine.room() == 4
    assert take(machine) == [Taken(0, 8, 1)]
    assert take(machine, 2) == []
    machine.ack(1, 1, 8)
    assert (machine.room(), machine.outstanding) == (4, 1)
    machine.ack(1, 0, 1)
    assert machine.room() == 12
    machine.max_outstanding = 1
    assert machine.room() == 0


def test_a_consumer_may_ask_for_more_time() -> None:
    machine = made("abc")
    take(machine)
    assert machine.extend(1, 1, 5, now=NOW, timeout=60.0) == Outcome(stale=[(3, 5)])
    assert [retry[:3] for retry in machine.expire(NOW + TIMEOUT).retries] == [(0, 1, 1)]
    assert machine.due() is not None
    assert machine.ack(1, 1, 3).settled == [(1, 3)]
    assert machine.extend(1, *EVERYTHING, now=NOW, timeout=1.0) == Outcome(stale=[EVERYTHING])


def test_a_huge_range_concerns_what_is_there() -> None:
    machine = made("ab" * 50)
    take(machine, 1, 1)
    take(machine, 2)
    assert machine.ack(1, *EVERYTHING) == Outcome(settled=[(0, 1)], stale=[(1, 1 << 62)])
    assert machine.nak(3, *EVERYTHING, now=NOW).stale == [EVERYTHING]
    assert machine.bury(*EVERYTHING) == Outcome()


def test_a_machine_goes_on_from_what_is_durable_once_the_keys_are_told() -> None:
    retries = [Retry(3, 6, 1, NOW + 5), Retry(4, 5, 2, NOW - 7)]
    machine = made(settled=Spans(2, [(5, 6)]), retries=retries)
    assert (machine.next, machine.retrying, machine.due()) == (2, 2, None)
    assert machine.retry_spans(NOW) == [Retry(3, 4, 1, NOW + 5), Retry(4, 5, 2, NOW - 7)]
    offer(machine, "aabbb")
    assert (machine.retrying, machine.due()) == (2, NOW - 7)
    assert take(machine) == [Taken(2, 3, 1), Taken(4, 5, 3), Taken(6, 7, 1)]
    assert take(machine, now=NOW + 5) == [Taken(3, 4, 2)]


def test_what_is_recovered_may_be_skipped_before_it_is_offered() -> None:
    machine = made(retries=[Retry(3, 6, 1, NOW)])
    assert machine.skip(0, 5).settled == [(0, 5)]
    assert machine.retry_spans(NOW) == [Retry(5, 6, 1, NOW)]


def test_a_lease_does_not_hold_on_to_what_is_settled() -> None:
    machine = made("." * 1_000)
    take(machine)
    machine.ack(1, 0, 999)
    ((lease,),) = machine._leases._held.values()
    assert len(lease.records) <= 2
    machine.ack(1, 999, 1_000)
    assert (machine.outstanding, machine.due()) == (0, None)


def test_nothing_is_left_of_a_key_that_is_settled() -> None:
    machine = made("abab.")
    take(machine)
    machine.ack(1, *EVERYTHING)
    machine.leave(1, NOW, counted=True)
    assert not machine._window._lanes
    assert not machine._window.records
    assert not machine._ready._owned
