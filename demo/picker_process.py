"""A picker: handles the orders of a subscription, one after the other, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import time

from sira_client import IdentityFiles, connect
from sira_client.bus import Consumer, Record

from demo.handling import Handling, Step
from demo.order import Order

PREFETCH_RECORDS = 16
WORK_SECONDS = (0.004, 0.01)


class Picker:
    """Handles orders, and tells of each before the kernel hears of it: what is acknowledged has been told.

    Args:
        consumer: of the orders.
        words: whether quantities that are written out are understood.
    """

    def __init__(self, consumer: Consumer[Record], *, words: bool) -> None:
        self._consumer = consumer
        self._words = words
        self._hand = asyncio.Lock()
        self._stopping = False

    async def run(self) -> None:
        """Handles orders until it is stopped. One that cannot be handled goes back to the kernel."""
        async for record in self._consumer:
            async with self._hand:
                if self._stopping:
                    return
                order = Order.from_payload(record.payload)
                try:
                    async with record:
                        _tell("taken", order, record)
                        order.pieces(words=self._words)
                        await asyncio.sleep(random.uniform(*WORK_SECONDS))
                        _tell("handled", order, record)
                except ValueError as error:
                    _tell("refused", order, record, f"{type(error).__name__}: {error}")

    async def stop(self) -> None:
        """Finishes what is in hand, and gives the rest back."""
        self._stopping = True
        async with self._hand:
            await self._consumer.close()


def _tell(step: Step, order: Order, record: Record, why: str = "") -> None:
    millis = round((time.time() - record.publish_time.timestamp()) * 1000, 2)
    told = (order.number, order.customer, order.nth, record.attempt, time.monotonic(), millis, why)
    print(Handling(step, *told).to_line(), flush=True)


async def pick(kernel: str, source: IdentityFiles, name: str, subscription: str, *, words: bool) -> None:
    """Handles orders over mutual TLS until SIGTERM."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with connect(kernel, identity=source) as client, asyncio.TaskGroup() as tasks:
        consumer = client.bus().subscribe(subscription, consumer=name, prefetch_records=PREFETCH_RECORDS)
        picker = Picker(consumer, words=words)
        tasks.create_task(picker.run())
        await stop.wait()
        await picker.stop()


def main() -> None:
    """Reads the command line and handles orders."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kernel")
    parser.add_argument("identity")
    parser.add_argument("name")
    parser.add_argument("subscription")
    parser.add_argument("--words", action="store_true", help="understand quantities that are written out")
    arguments = parser.parse_args()
    source = IdentityFiles(arguments.identity, timeout=10.0)
    asyncio.run(pick(arguments.kernel, source, arguments.name, arguments.subscription, words=arguments.words))


if __name__ == "__main__":
    main()
