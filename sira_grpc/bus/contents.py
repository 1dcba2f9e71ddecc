"""What topics and subscriptions hold, as the commands on them ask for it."""

from __future__ import annotations

import asyncio

from sira.bus.v1.subscription_pb2 import StartPosition, SubscriptionStatus
from sira.bus.v1.topic_pb2 import PartitionStatus, TopicStatus

from sira_grpc.bus.active_subscriptions import ActiveSubscriptions
from sira_grpc.bus.partitions import Partitions
from sira_grpc.bus.positions import offset_of
from sira_grpc.bus.view import SubscriptionEntry, TopicEntry


class Contents:
    """Looks into what is open, and opens it for that. Implements Holdings, Positions, DeadLetters and Writers."""

    def __init__(self, partitions: Partitions, active: ActiveSubscriptions) -> None:
        self._partitions = partitions
        self._active = active

    async def topic_status(self, topic: TopicEntry) -> TopicStatus:
        """Returns what a topic holds."""
        opened = await self._partitions.all_of(topic)
        return TopicStatus(
            partitions=[
                PartitionStatus(
                    partition=each.partition.number,
                    first_offset=each.partition.first,
                    next_offset=each.partition.end,
                    bytes=each.partition.size,
                    scheduled=each.scheduled.count,
                )
                for each in opened
            ]
        )

    async def subscription_status(self, subscription: SubscriptionEntry) -> SubscriptionStatus:
        """Returns how far a subscription has come."""
        return (await self._active.get(subscription)).status()

    async def records(self, topic: TopicEntry) -> int:
        """See Holdings. Those that are scheduled count too."""
        opened = await self._partitions.all_of(topic)
        return sum(each.partition.records + each.scheduled.count for each in opened)

    async def offset(self, topic: TopicEntry, partition: int, position: StartPosition) -> int:
        """See Positions."""
        return await offset_of((await self._partitions.get(topic, partition)).partition, position)

    async def dead_letters(self, subscription: SubscriptionEntry) -> int:
        """See DeadLetters."""
        return (await self._active.get(subscription)).dead_letters.count

    async def released(self, uid: str) -> None:
        """See Writers."""
        await asyncio.gather(self._partitions.released(uid), self._active.released(uid))
