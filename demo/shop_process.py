"""The shop: sends orders at a steady rate until SIGTERM. At SIGUSR1, the next one has its quantity written out."""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from collections import Counter

from sira_client import IdentityFiles, connect
from sira_client.bus import Ack, Producer

from demo.order import TOPIC, Order
from demo.sales import Sales

REPORT_SECONDS = 0.1
CUSTOMERS = 12
ERRORS_TOLD = 3


class Shop:
    """Sends orders and gathers what became of them."""

    def __init__(self, producer: Producer) -> None:
        self._producer = producer
        self._sales = Sales()
        self._sent = 0
        self._of_customer: Counter[str] = Counter()
        self._odd = False

    def be_odd(self) -> None:
        """Writes the next quantity out."""
        self._odd = True

    async def run(self, rate: float, stop: asyncio.Event) -> None:
        """Sends so many orders a second, whether or not those before were acknowledged, and tells of them."""
        async with asyncio.TaskGroup() as tasks:
            reporting = tasks.create_task(self._tell())
            due = time.monotonic()
            while not stop.is_set():
                await self._send()
                due += 1 / rate
                await asyncio.sleep(due - time.monotonic())
            await self._producer.flush()
            reporting.cancel()
        self._flush()

    async def _send(self) -> None:
        self._sent += 1
        customer = f"customer-{1 + self._sent % CUSTOMERS}"
        self._of_customer[customer] += 1
        odd, self._odd = self._odd, False
        order = Order(self._sent, customer, self._of_customer[customer], "three" if odd else "3")
        began = time.monotonic()
        answer = await self._producer.post(
            order.to_payload(),
            key=customer.encode(),
            id=f"order-{order.number}",
            headers={"customer": customer},
            content_type="application/json",
        )
        answer.add_done_callback(lambda done: self._answered(order.number, odd, began, done))

    def _answered(self, number: int, odd: bool, began: float, answer: asyncio.Future[Ack]) -> None:
        sales = self._sales
        if answer.cancelled() or (error := answer.exception()) is not None:
            sales.failed += 1
            sales.errors = [*sales.errors, f"order {number}: {error}"][:ERRORS_TOLD]
            return
        sales.acknowledged.append(number)
        sales.odd += [number] if odd else []
        sales.millis.append(round((time.monotonic() - began) * 1000, 2))
        durability = answer.result().durability
        if durability not in sales.durabilities:
            sales.durabilities.append(durability)

    async def _tell(self) -> None:
        while True:
            await asyncio.sleep(REPORT_SECONDS)
            self._flush()

    def _flush(self) -> None:
        sales, self._sales = self._sales, Sales()
        print(sales.to_line(), flush=True)


async def sell(kernel: str, source: IdentityFiles, rate: float) -> None:
    """Sends over mutual TLS until SIGTERM; then waits for the last acknowledgements."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    async with connect(kernel, identity=source) as client, client.bus().producer(TOPIC) as producer:
        shop = Shop(producer)
        loop.add_signal_handler(signal.SIGTERM, stop.set)
        loop.add_signal_handler(signal.SIGUSR1, shop.be_odd)
        await shop.run(rate, stop)


def main() -> None:
    """Reads the command line and sends."""
    parser = argparse.ArgumentParser()
    parser.add_argument("kernel")
    parser.add_argument("identity")
    parser.add_argument("rate", type=float)
    arguments = parser.parse_args()
    asyncio.run(sell(arguments.kernel, IdentityFiles(arguments.identity, timeout=10.0), arguments.rate))


if __name__ == "__main__":
    main()
