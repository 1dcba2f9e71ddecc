"""What the bus has in a namespace, for when that is to be deleted."""

from __future__ import annotations

from contextlib import suppress

from sira_grpc.bus.subscriptions import Subscriptions
from sira_grpc.bus.topics import Topics
from sira_grpc.bus.view import BusView
from sira_grpc.errors import SubscriptionNotFound, TopicNotFound


class BusTenant:
    """The topics and subscriptions of a namespace."""

    def __init__(self, view: BusView, topics: Topics, subscriptions: Subscriptions) -> None:
        self._view = view
        self._topics = topics
        self._subscriptions = subscriptions

    def holds(self, namespace: str) -> str:
        """Says how many there are; empty if none."""
        topics, subscriptions = len(self._view.topics_in(namespace)), len(self._view.subscriptions_in(namespace))
        return f"{topics} topics and {subscriptions} subscriptions" if topics or subscriptions else ""

    async def clear(self, namespace: str) -> None:
        """Deletes them, with all that is in them."""
        for name in tuple(self._view.subscriptions_in(namespace)):
            with suppress(SubscriptionNotFound):  # somebody else deletes it too
                await self._subscriptions.clear(name)
        for name in tuple(self._view.topics_in(namespace)):
            with suppress(TopicNotFound):
                await self._topics.clear(name)
