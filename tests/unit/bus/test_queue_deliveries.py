from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from sira_grpc.bus.delivery import MAX_DELIVERIES, TERMINATED, Dead, Outcome, Retry, RetryRule, Taken
from sira_grpc.bus.queue_deliveries import MAX_FRESH, QueueDeliveries
from sira_grpc.bus.spans import Spans

RULE = RetryRule(max_deliveries=3, min_backoff=1.0, max_backoff=600.0)
EVERYTHING = (0, 1 << 62)
NOW = 1_000.0
TIMEOUT = 30.0


def made(
    records: int = 0,
    *,
    settled: Spans | None = None,
    retries: Iterable[Retry] = (),
    rule: RetryRule = RULE,
    max_outstanding: int = 20_000,
) -> QueueDeliveries:
    spans = Spans() if settled is None else settled
    machine = QueueDeliveries(
        rule, rng=random.Random(1), settled=spans, retries=retries, max_outstanding=max_outstanding
    )
    machine.offer(machine.next, machine.next + records)
    return machine


def take(machine: QueueDeliveries, consumer: int = 1, records: int = 1_000, now: float = NOW) -> list[Taken]:
    return machine.take(consumer, records, now, TIMEOUT)


def test_records_go_to_whoever_asks_in_order() -> None:
    machine = made(10)
    assert take(machine, 1, 4) == [Taken(0, 4, 1)]
    assert take(machine, 2, 4) == [Taken(4, 8, 1)]
    assert take(machine, 1) == [Taken(8, 10, 1)]
    assert not machine.ready(NOW)
    assert machine.room() == MAX_FRESH
    machine.offer(10, 20)
    assert machine.room() == MAX_FRESH - 10


def test_frames_that_are_offered_one_after_the_other_are_taken_as_one() -> None:
    machine = made(10)
    machine.offer(10, 20)
    machine.offer(20, 21)
    assert take(machine) == [Taken(0, 21, 1)]


def test_an_ack_settles_and_a_second_one_is_stale() -> None:
    machine = made(10)
    take(machine)
    assert machine.ack(1, 2, 5) == Outcome(settled=[(2, 5)])
    assert machine.ack(1, 0, 12) == Outcome(settled=[(0, 2), (5, 10)], stale=[(2, 5), (10, 12)])
    assert (machine.settled.floor, machine.outstanding) == (10, 0)


def test_what_another_consumer_has_is_stale() -> None:
    machine = made(10)
    take(machine, 1, 5)
    take(machine, 2, 5)
    assert machine.ack(1, *EVERYTHING) == Outcome(settled=[(0, 5)], stale=[(5, EVERYTHING[1])])
    assert machine.nak(3, 0, 10, now=NOW) == Outcome(stale=[(0, 10)])
    assert machine.outstanding == 5


def test_an_empty_range_is_of_no_effect() -> None:
    machine = made(10)
    take(machine)
    assert machine.ack(1, 5, 5) == machine.ack(1, 7, 3) == machine.nak(1, 9, 2, now=NOW) == Outcome()
    assert machine.skip(8, 4) == machine.terminate(1, 8, 4) == machine.bury(8, 4) == Outcome()
    assert machine.outstanding == 10


def test_a_thousand_single_acks_settle_a_frame() -> None:
    machine = made(1_000)
    take(machine)
    offsets = list(range(1_000))
    random.Random(1).shuffle(offsets)
    for offset in offsets:
        assert machine.ack(1, offset, offset + 1) == Outcome(settled=[(offset, offset + 1)])
    assert (machine.settled.floor, machine.outstanding, machine.due()) == (1_000, 0, None)


def test_a_nak_comes_back_after_its_delay_before_what_is_fresh() -> None:
    machine = made(10)
    take(machine, 1, 5)
    assert machine.nak(1, 1, 3, now=NOW, delay=2.0) == Outcome(retries=[Retry(1, 3, 1, NOW + 2.0)])
    assert (machine.retrying, machine.outstanding, machine.due()) == (2, 3, NOW + 2.0)
    assert take(machine, 2, 2, NOW + 1.9) == [Taken(5, 7, 1)]
    assert take(machine, 2, 3, NOW + 2.0) == [Taken(1, 3, 2), Taken(7, 8, 1)]
    assert machine.retrying == 0


def test_without_a_delay_a_nak_backs_off_by_the_rule() -> None:
    machine = made(10)
    take(machine)
    (retry,) = machine.nak(1, 0, 10, now=NOW).retries
    assert NOW + 0.8 <= retry.due <= NOW + 1.2
    take(machine, now=NOW + 2)
    (retry,) = machine.nak(1, 0, 10, now=NOW + 2).retries
    assert NOW + 2 + 1.6 <= retry.due <= NOW + 2 + 2.4


def test_what_goes_back_together_comes_back_together() -> None:
    machine = made(10)
    take(machine)
    machine.ack(1, 4, 5)
    retries = machine.nak(1, 0, 10, now=NOW).retries
    assert [retry[:3] for retry in retries] == [(0, 4, 1), (5, 10, 1)]
    assert retries[0].due == retries[1].due


def test_what_went_back_apart_is_taken_as_one_where_it_adjoins() -> None:
    machine = made(10)
    take(machine)
    machine.nak(1, 2, 5, now=NOW, delay=1.0)
    machine.nak(1, 5, 7, now=NOW, delay=2.0)
    assert take(machine, now=NOW + 2) == [Taken(2, 7, 2)]


def test_after_the_last_delivery_a_nak_makes_a_dead_letter() -> None:
    machine = made(4)
    for attempt in (1, 2):
        assert take(machine) == [Taken(0, 4, attempt)]
        assert not machine.nak(1, 0, 4, now=NOW, delay=0.0).dead
    assert take(machine) == [Taken(0, 4, 3)]
    outcome = machine.nak(1, 0, 4, now=NOW, detail="no such order")
    assert outcome == Outcome(dead=[Dead(0, 4, 3, MAX_DELIVERIES, 1, "no such order")])
    assert (take(machine, now=NOW + 1e6), machine.settled.floor, machine.outstanding) == ([], 0, 0)
    assert machine.bury(0, 4) == Outcome()
    assert machine.settled.floor == 4


def test_a_terminated_record_is_dead_at_once() -> None:
    machine = made(4)
    take(machine)
    outcome = machine.terminate(1, 1, 5, detail="bad")
    assert outcome == Outcome(dead=[Dead(1, 4, 1, TERMINATED, 1, "bad")], stale=[(4, 5)])
    assert machine.ack(1, 1, 2).stale == [(1, 2)]
    machine.bury(*EVERYTHING)
    assert machine.settled.spans() == [(1, 4)]


def test_a_dead_letter_that_could_not_be_written_is_delivered_again_as_the_attempt_it_was() -> None:
    machine = made(4)
    take(machine)
    machine.nak(1, 0, 2, now=NOW, delay=0.0)
    assert take(machine) == [Taken(0, 2, 2)]
    machine.terminate(1, *EVERYTHING)
    machine.revive(*EVERYTHING, NOW)
    assert machine.due() == NOW + 1.0
    assert machine.retrying == 2
    assert take(machine, now=NOW + 0.9) == []
    assert take(machine, now=NOW + 1.0) == [Taken(0, 2, 2), Taken(2, 4, 1)]


def test_what_is_kept_too_long_is_given_back_by_the_rule() -> None:
    machine = made(10)
    take(machine, 1, 5)
    take(machine, 2, 5, NOW + 1)
    machine.ack(1, 0, 2)
    assert machine.expire(NOW + TIMEOUT - 0.1) == Outcome()
    assert machine.due() == NOW + TIMEOUT
    (retry,) = machine.expire(NOW + TIMEOUT).retries
    assert retry[:3] == (2, 5, 1)
    assert NOW + TIMEOUT + 0.8 <= retry.due <= NOW + TIMEOUT + 1.2
    assert machine.ack(1, 2, 5).stale == [(2, 5)]
    assert machine.outstanding == 5


def test_after_the_last_delivery_being_kept_too_long_makes_a_dead_letter() -> None:
    machine = made(2, rule=RetryRule(1, 1.0, 1.0))
    take(machine, 7)
    assert machine.expire(NOW + TIMEOUT).dead == [Dead(0, 2, 1, MAX_DELIVERIES, 7, "")]


@pytest.mark.parametrize("timeout", [5.0, 60.0])
def test_a_consumer_may_ask_for_more_time_or_less(timeout: float) -> None:
    machine = made(10)
    take(machine)
    assert machine.extend(1, 3, 12, now=NOW, timeout=timeout) == Outcome(stale=[(10, 12)])
    assert machine.due() == min(NOW + timeout, NOW + TIMEOUT)
    first, second = sorted([(timeout, [3, 10]), (TIMEOUT, [0, 3])])
    for seconds, (start, end) in (first, second):
        assert [retry[:3] for retry in machine.expire(NOW + seconds).retries] == [(start, end, 1)]
    assert machine.outstanding == 0


def test_a_lease_that_lies_within_an_older_one_outlives_it() -> None:
    machine = made(10)
    take(machine)
    machine.nak(1, 4, 6, now=NOW, delay=1.0)
    assert take(machine, now=NOW + 1.0) == [Taken(4, 6, 2)]
    assert [retry[:3] for retry in machine.expire(NOW + TIMEOUT).retries] == [(0, 4, 1), (6, 10, 1)]
    assert machine.ack(1, 4, 6).settled == [(4, 6)]


def test_what_a_lost_consumer_had_is_due_at_once() -> None:
    machine = made(10)
    take(machine, 1, 5)
    take(machine, 2, 2)
    assert machine.leave(1, NOW, counted=True) == Outcome(retries=[Retry(0, 5, 1, NOW)])
    assert machine.leave(1, NOW, counted=True) == Outcome()
    assert take(machine, 3) == [Taken(0, 5, 2), Taken(7, 10, 1)]


def test_a_lost_consumer_may_be_the_last_that_gets_a_record() -> None:
    machine = made(2, rule=RetryRule(1, 1.0, 1.0))
    take(machine, 7)
    assert machine.leave(7, NOW, counted=True).dead == [Dead(0, 2, 1, MAX_DELIVERIES, 7, "")]


def test_what_a_consumer_had_that_left_in_good_order_goes_on_as_before() -> None:
    machine = made(10)
    take(machine, 1, 2)
    machine.nak(1, 0, 2, now=NOW, delay=0.0)
    assert take(machine, 1, 5) == [Taken(0, 2, 2), Taken(2, 5, 1)]
    assert machine.leave(1, NOW, counted=False) == Outcome()
    assert take(machine, 2) == [Taken(0, 2, 2), Taken(2, 10, 1)]


def test_what_could_not_be_sent_is_taken_as_never_before() -> None:
    machine = made(10)
    take(machine, 1, 4)
    machine.nak(1, 0, 4, now=NOW, delay=0.0)
    take(machine, 1, 6)
    machine.untake(1, 2, 5)
    assert (machine.outstanding, machine.retrying) == (3, 2)
    assert take(machine) == [Taken(2, 4, 2), Taken(4, 5, 1), Taken(6, 10, 1)]


def test_what_is_skipped_is_settled_unless_a_consumer_has_it() -> None:
    machine = made(10)
    take(machine, 1, 4)
    machine.nak(1, 0, 1, now=NOW, delay=1.0)
    machine.terminate(1, 1, 2)
    assert machine.skip(0, 12) == Outcome(settled=[(0, 2), (4, 12)])
    assert (machine.next, machine.due()) == (12, NOW + TIMEOUT)
    assert machine.bury(1, 2) == Outcome()
    machine.revive(1, 2, NOW)
    assert not machine.ready(NOW + 1e6)
    assert machine.ack(1, 2, 4).settled == [(2, 4)]
    assert machine.settled.floor == 12


def test_a_part_of_what_waits_may_be_skipped() -> None:
    machine = made(10)
    take(machine)
    machine.nak(1, 0, 10, now=NOW, delay=1.0)
    assert machine.skip(3, 6) == Outcome(settled=[(3, 6)])
    assert take(machine, now=NOW + 1) == [Taken(0, 3, 2), Taken(6, 10, 2)]


def test_what_is_skipped_before_it_is_offered_is_not_delivered() -> None:
    machine = made(4)
    assert machine.skip(6, 8).settled == [(6, 8)]
    assert machine.next == 4
    machine.offer(4, 10)
    assert take(machine) == [Taken(0, 6, 1), Taken(8, 10, 1)]


def test_no_more_than_allowed_is_outstanding() -> None:
    machine = made(100, max_outstanding=10)
    assert take(machine, 1, 7) == [Taken(0, 7, 1)]
    assert take(machine, 2, 7) == [Taken(7, 10, 1)]
    assert not machine.ready(NOW)
    assert take(machine) == []
    machine.ack(1, 0, 2)
    machine.max_outstanding = 9
    assert take(machine) == [Taken(10, 11, 1)]


def test_a_machine_goes_on_from_what_is_durable() -> None:
    retries = [Retry(2, 6, 1, NOW + 5), Retry(3, 4, 2, NOW - 7)]
    machine = made(settled=Spans(2, [(5, 6), (9, 10)]), retries=retries)
    assert (machine.next, machine.retrying, machine.due()) == (10, 3, NOW - 7)
    assert take(machine) == [Taken(3, 4, 3), Taken(6, 9, 1)]
    assert take(machine, now=NOW + 5) == [Taken(2, 3, 2), Taken(4, 5, 2)]


def test_a_retry_may_be_the_highest_offset_known() -> None:
    machine = made(settled=Spans(2), retries=[Retry(4, 6, 1, NOW)])
    assert machine.next == 6
    machine.offer(6, 7)
    assert take(machine) == [Taken(4, 6, 2), Taken(2, 4, 1), Taken(6, 7, 1)]


def test_a_snapshot_leaves_out_deliveries_whose_end_is_not_known() -> None:
    machine = made(10)
    take(machine, 1, 6)
    machine.nak(1, 0, 6, now=NOW, delay=1.0)
    take(machine, 1, 4, NOW + 1.0)
    machine.nak(1, 0, 1, now=NOW + 1, delay=9.0)
    machine.terminate(1, 1, 2)
    take(machine, 1, 3, NOW + 2)
    assert machine.retry_spans(NOW + 3) == [Retry(0, 1, 2, NOW + 10), Retry(1, 6, 1, NOW + 3)]


def test_a_lower_limit_counts_from_the_next_failure_on() -> None:
    machine = made(2)
    take(machine)
    machine.nak(1, 0, 2, now=NOW, delay=0.0)
    machine.rule = RetryRule(1, 1.0, 1.0)
    assert take(machine) == [Taken(0, 2, 2)]
    assert machine.nak(1, 0, 2, now=NOW).dead == [Dead(0, 2, 2, MAX_DELIVERIES, 1, "")]
