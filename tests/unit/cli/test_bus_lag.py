"""The rows of the lag of subscriptions."""

from __future__ import annotations

from sira.bus.v1.subscription_pb2 import PartitionLag, Subscription, SubscriptionStatus

from sira_grpc.cli.bus.lag import COLUMNS, rows


def cells(subscription: Subscription) -> list[list[str]]:
    return [[cell(row) for _, cell in COLUMNS] for row in rows(subscription)]


def test_the_first_row_tells_of_the_subscription_too() -> None:
    lags = [
        PartitionLag(topic="orders", partition=n, settled_offset=5, next_offset=9, lag=4, outstanding=2, retrying=1)
        for n in range(2)
    ]
    subscription = Subscription(
        name="namespaces/default/subscriptions/billing",
        status=SubscriptionStatus(partitions=lags, consumers=3, dead_letters=7),
    )
    assert cells(subscription) == [
        ["default/billing", "orders", "0", "5", "9", "4", "2", "1", "7", "3"],
        ["default/billing", "orders", "1", "5", "9", "4", "2", "1", "", ""],
    ]


def test_a_subscription_that_reads_nothing_is_there_too() -> None:
    subscription = Subscription(name="namespaces/default/subscriptions/billing")
    assert cells(subscription) == [["default/billing", "", "", "", "", "", "", "", "0", "0"]]
