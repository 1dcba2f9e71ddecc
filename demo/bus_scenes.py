"""The scenes about the bus: orders are shared, a picker dies, one order is poison, and in the end all are counted."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from datetime import timedelta

from sira_client.bus import DeadLetter, DeadLetterReason, RetryPolicy, SubscriptionStatus

from demo.order import TOPIC
from demo.stage import PATIENCE_SECONDS, Demo
from demo.warehouse import ORDERS_PER_SECOND, PICKERS, SUBSCRIPTION

PARTITIONS = 4
DELIVERIES = 3
BACKOFF = timedelta(milliseconds=200)
LOOK_SECONDS = 0.05


async def open_shop(demo: Demo) -> None:
    """A shop sends orders, and three pickers share them."""
    demo.screen.scene(f"The bus: a shop sends {ORDERS_PER_SECOND} orders a second, three pickers share them")
    ledger, bus = demo.ledger, demo.client.bus()
    await bus.topics.create(TOPIC, partitions=PARTITIONS)
    retry = RetryPolicy(max_deliveries=DELIVERIES)
    retry.min_backoff.FromTimedelta(BACKOFF)
    await bus.subscriptions.create(SUBSCRIPTION, TOPIC, mode="ordered", retry=retry)
    demo.screen.note(f"topic {TOPIC} with {PARTITIONS} partitions, subscription {SUBSCRIPTION} in order by customer")
    await asyncio.gather(*(demo.warehouse.start_picker(name) for name in PICKERS), demo.warehouse.open_shop())
    await _status_when(demo, lambda status: status.consumers == len(PICKERS))
    shares = await _during(demo, demo.seconds)
    demo.screen.check(all(shares[name] for name in PICKERS), f"each handles its share: {_told(shares)}")
    demo.screen.check(not ledger.overtaken, "no order overtook an earlier one of its customer")
    durable = " and ".join(ledger.durabilities)
    demo.screen.note(
        f"in the median an order is acknowledged, durable on {durable}, after {ledger.to_acknowledge(50):.1f} ms, "
        f"and in a picker's hand after {ledger.to_take(50):.1f} ms"
    )


async def kill_picker(demo: Demo) -> None:
    """A picker dies with orders in its hands."""
    victim = PICKERS[1]
    demo.screen.scene(f"kill -9 {victim}, in the middle of an order")
    ledger, again = demo.ledger, demo.ledger.again
    await _until(demo, lambda: bool(ledger.in_hand_of(victim)))
    began = time.monotonic()
    await demo.warehouse.kill_picker(victim)
    left = ledger.in_hand_of(victim)
    saved = await _until(demo, lambda: all(ledger.orders[number].handled for number in left))
    took = (time.monotonic() - began) * 1000
    for number in left:
        heirs = [picker for _, picker in ledger.orders[number].handled]
        told = f"order {number} was handled by {', '.join(heirs)} {took:.0f} ms after the kill"
        demo.screen.check(saved, told if heirs else f"nobody handled order {number}")
    shares = await _during(demo, demo.seconds)
    demo.screen.note(f"of what it had, delivered again to the others: {ledger.again - again}")
    enough = sum(shares.values()) > 0.5 * ORDERS_PER_SECOND * demo.seconds
    demo.screen.check(enough and not shares[victim], f"the others go on: {_told(shares)}")
    demo.screen.check(not ledger.overtaken, "and still no order overtook an earlier one of its customer")


async def poison(demo: Demo) -> None:
    """An order that no picker understands becomes a dead letter, and comes back once they do."""
    demo.screen.scene("An order that nobody understands: its quantity says `three`")
    ledger, dead_letters = demo.ledger, demo.client.bus().dead_letters
    demo.warehouse.be_odd()
    await _until(demo, lambda: bool(ledger.odd and ledger.orders[ledger.odd].refused))
    before = ledger.by_picker.total()
    letters = await _dead_letters(demo)
    demo.screen.check(len(letters) == 1, f"after {DELIVERIES} deliveries order {ledger.odd} became a dead letter")
    for letter in letters:
        _show(demo, letter)
    others = ledger.by_picker.total() - before
    demo.screen.check(others > 0, f"it held up nobody: {others} other orders were handled meanwhile")
    await _exchange_pickers(demo)
    plan = await dead_letters.redrive(SUBSCRIPTION, dry_run=True)
    done = await dead_letters.redrive(SUBSCRIPTION)
    demo.screen.check(plan.redriven == done.redriven == 1, "redriven: 1, as the dry run had said")
    await _until(demo, lambda: ledger.odd not in ledger.missing)
    for _, picker in ledger.orders[ledger.odd].handled:
        demo.screen.note(f"{picker} handled order {ledger.odd}")
    status = await _status_when(demo, lambda status: not status.dead_letters)
    demo.screen.check(
        ledger.odd not in ledger.missing and not status.dead_letters, "it was handled, and no dead letter is left"
    )


async def count_orders(demo: Demo) -> None:
    """The shop closes, and every order is counted: those too that were under way when the kernel was killed."""
    demo.screen.scene("The shop closes: count the orders, over the kill of a picker and that of the kernel")
    ledger = demo.ledger
    codes = [await demo.warehouse.close_shop()]
    complete = await _until(demo, lambda: not ledger.missing)
    status = await _status_when(demo, lambda status: not status.lag)
    codes += await asyncio.gather(*(demo.warehouse.stop_picker(name) for name in tuple(demo.warehouse.pickers)))
    demo.screen.check(not ledger.failed, f"{ledger.acknowledged} orders were acknowledged, {ledger.failed} refused")
    for error in ledger.errors:
        demo.screen.note(error)
    demo.screen.check(complete, f"{len(ledger.missing)} of them were lost")
    demo.screen.check(not ledger.overtaken, f"{ledger.overtaken} overtook an earlier one of the same customer")
    demo.screen.note(f"{ledger.repeated} were handled twice: a picker or the kernel died before it was acknowledged")
    demo.screen.check(not status.lag, f"{status.lag} are left to deliver")
    frames, damages = await _verify(demo)
    demo.screen.check(
        frames > 0 and not damages, f"{frames} frames and their chain of hashes checked: {damages} damaged"
    )
    demo.screen.check(not any(codes), "the shop and the pickers stopped in good order")


async def _exchange_pickers(demo: Demo) -> None:
    """Replaces the pickers by new ones that understand words, while orders come in."""
    old = tuple(demo.warehouse.pickers)
    new = [f"picker-{1 + len(PICKERS) + place}" for place in range(len(old))]
    await asyncio.gather(*(demo.warehouse.start_picker(name, words=True) for name in new))
    await _status_when(demo, lambda status: status.consumers == len(old) + len(new))
    codes = [await demo.warehouse.stop_picker(name) for name in old]
    told = f"{' and '.join(new)}, which understand words, took over from {' and '.join(old)}"
    demo.screen.check(not any(codes), told)


async def _dead_letters(demo: Demo) -> list[DeadLetter]:
    """Waits for a dead letter, and returns those that there are, with their payloads."""
    dead_letters = demo.client.bus().dead_letters
    await _status_when(demo, lambda status: status.dead_letters > 0)
    ids = [int(letter.name.rpartition("/")[2]) async for letter in dead_letters.list(SUBSCRIPTION)]
    return [await dead_letters.get(SUBSCRIPTION, letter) for letter in ids]


def _show(demo: Demo, letter: DeadLetter) -> None:
    reason = DeadLetterReason.Name(letter.reason).removeprefix("DEAD_LETTER_REASON_")
    demo.screen.note(f"{letter.topic}/{letter.partition}@{letter.offset}  {letter.record.payload.decode()}")
    demo.screen.note(f"{reason}, the last delivery to {letter.consumer}: {letter.detail}")


async def _verify(demo: Demo) -> tuple[int, int]:
    """Has the kernel check all that the topic holds; returns the frames that it read, and what it found damaged."""
    frames: Counter[int] = Counter()
    damages = 0
    async for answer in demo.client.bus().topics.verify(TOPIC):
        frames[answer.partition] = answer.frames
        damages += len(answer.damages)
    return frames.total(), damages


async def _status_when(demo: Demo, condition: Callable[[SubscriptionStatus], bool]) -> SubscriptionStatus:
    """Waits until the status is as it should be; returns it, also if that does not come in time."""
    patience = time.monotonic() + PATIENCE_SECONDS
    while True:
        status = await demo.client.bus().subscriptions.lag(SUBSCRIPTION)
        if condition(status) or time.monotonic() > patience:
            return status
        await asyncio.sleep(LOOK_SECONDS)


async def _until(demo: Demo, condition: Callable[[], bool]) -> bool:
    return await demo.ledger.news.until(condition, within=PATIENCE_SECONDS)


async def _during(demo: Demo, seconds: float) -> Counter[str]:
    """How many orders each picker handles within the next so many seconds."""
    before = demo.ledger.by_picker
    await asyncio.sleep(seconds)
    return demo.ledger.by_picker - before


def _told(shares: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(shares.items()))
