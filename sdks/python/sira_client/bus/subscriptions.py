"""The subscriptions of the bus, for programs that look after them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Literal

from google.protobuf.duration_pb2 import Duration
from google.protobuf.field_mask_pb2 import FieldMask
from sira.bus.v1.subscription_pb2 import RetryPolicy, Subscription, SubscriptionMode, SubscriptionStatus
from sira.bus.v1.subscription_service_pb2 import (
    CreateSubscriptionRequest,
    DeleteSubscriptionRequest,
    GetSubscriptionRequest,
    ListSubscriptionsRequest,
    PauseSubscriptionRequest,
    ResumeSubscriptionRequest,
    SeekSubscriptionRequest,
    UpdateSubscriptionRequest,
)

from sira_client.bus.names import parent_name, subscription_name
from sira_client.bus.positions import Position, start_position
from sira_client.bus.times import duration

if TYPE_CHECKING:  # these are only in the stubs
    from sira.bus.v1.subscription_service_pb2_grpc import SubscriptionServiceAsyncStub

Mode = Literal["queue", "ordered"]
"""`queue`: any consumer gets any record. `ordered`: the records of one key go to one consumer at a time, in order."""

_MODES: dict[str, SubscriptionMode.ValueType] = {
    "queue": SubscriptionMode.SUBSCRIPTION_MODE_QUEUE,
    "ordered": SubscriptionMode.SUBSCRIPTION_MODE_ORDERED,
}


class Subscriptions:
    """Creates, reads, changes, moves and deletes subscriptions. They are named by their ids or resource names.

    Every method raises ValueError where a name is malformed, and SiraError where the kernel refuses or is not there.

    Args:
        rpcs: the kernel's RPCs, with default deadlines and typed errors.
        namespace: of ids.
    """

    def __init__(self, rpcs: SubscriptionServiceAsyncStub, namespace: str) -> None:
        self._rpcs = rpcs
        self._namespace = namespace

    async def create(
        self,
        subscription: str,
        topics: str | Sequence[str],
        *,
        mode: Mode = "queue",
        start: Position = "latest",
        ack_timeout: float | None = None,
        retry: RetryPolicy | None = None,
        max_outstanding: int = 0,
        description: str = "",
    ) -> Subscription:
        """Creates a subscription, and returns it as stored.

        Args:
            subscription: id.
            topics: names or patterns, `orders.*.created`, `orders.>`; they cannot be changed.
            mode: which consumer gets which record; it cannot be changed.
            start: where it begins in the topics that are there.
            ack_timeout: seconds that a consumer may take to acknowledge, or to ask for more time; None for 30.
            retry: when a record is delivered again, and how often.
            max_outstanding: records of a partition that may be with consumers; 0 for 20,000.
            description: free text for people.

        Raises:
            AlreadyExistsError: it is there.
        """
        if mode not in _MODES:
            raise ValueError(f"mode: {mode!r} must be 'queue' or 'ordered'")
        created = Subscription(
            name=self._name(subscription),
            description=description,
            topics=[topics] if isinstance(topics, str) else topics,
            mode=_MODES[mode],
            start=start_position(start),
            ack_timeout=_timeout(ack_timeout),
            retry=retry,
            max_outstanding=max_outstanding,
        )
        return (await self._rpcs.CreateSubscription(CreateSubscriptionRequest(subscription=created))).subscription

    async def get(self, subscription: str) -> Subscription:
        """Returns a subscription, with its lag.

        Raises:
            SubscriptionNotFoundError: there is no such subscription.
        """
        request = GetSubscriptionRequest(name=self._name(subscription))
        return (await self._rpcs.GetSubscription(request)).subscription

    async def lag(self, subscription: str) -> SubscriptionStatus:
        """Returns how far a subscription has come.

        Raises:
            SubscriptionNotFoundError: there is no such subscription.
        """
        return (await self.get(subscription)).status

    async def list(self) -> AsyncIterator[Subscription]:
        """Yields the subscriptions of the namespace by name, without their lag."""
        request = ListSubscriptionsRequest(parent=parent_name(self._namespace), page_size=1000)
        while True:
            response = await self._rpcs.ListSubscriptions(request)
            for subscription in response.subscriptions:
                yield subscription
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def update(
        self,
        subscription: str,
        *,
        ack_timeout: float | None = None,
        retry: RetryPolicy | None = None,
        max_outstanding: int | None = None,
        description: str | None = None,
        etag: str = "",
    ) -> Subscription:
        """Changes what is given, and returns the subscription as stored.

        Args: see create; etag, if given, must be the stored one.

        Raises:
            SubscriptionNotFoundError: there is no such subscription.
            AbortedError: it was written since the etag was read.
        """
        given = {
            "ack_timeout": ack_timeout,
            "retry": retry,
            "max_outstanding": max_outstanding,
            "description": description,
        }
        paths = [name for name, value in given.items() if value is not None]
        if not paths:
            raise ValueError("there must be something to change")
        changed = Subscription(
            name=self._name(subscription),
            ack_timeout=_timeout(ack_timeout),
            retry=retry,
            max_outstanding=max_outstanding or 0,
            description=description or "",
            etag=etag,
        )
        request = UpdateSubscriptionRequest(subscription=changed, update_mask=FieldMask(paths=paths))
        return (await self._rpcs.UpdateSubscription(request)).subscription

    async def delete(self, subscription: str, *, force: bool = False, etag: str = "") -> None:
        """Deletes a subscription and ends its streams.

        Args:
            subscription: id.
            force: with its dead letters.
            etag: if given, must be the stored one.

        Raises:
            SubscriptionNotFoundError: there is no such subscription.
            FailedPreconditionError: it has dead letters, and force is not given.
        """
        request = DeleteSubscriptionRequest(name=self._name(subscription), force=force, etag=etag)
        await self._rpcs.DeleteSubscription(request)

    async def pause(self, subscription: str) -> Subscription:
        """Stops delivery until resume, and returns the subscription. What is with consumers may still be acked.

        Raises:
            SubscriptionNotFoundError: there is no such subscription.
        """
        request = PauseSubscriptionRequest(name=self._name(subscription))
        return (await self._rpcs.PauseSubscription(request)).subscription

    async def resume(self, subscription: str) -> Subscription:
        """Goes on with delivery, and returns the subscription.

        Raises:
            SubscriptionNotFoundError: there is no such subscription.
        """
        request = ResumeSubscriptionRequest(name=self._name(subscription))
        return (await self._rpcs.ResumeSubscription(request)).subscription

    async def seek(self, subscription: str, position: Position) -> SubscriptionStatus:
        """Moves a subscription: what comes after the position is delivered, again if need be; an offset moves its
        partition only. Returns where it is now.

        Raises:
            SubscriptionNotFoundError: there is no such subscription.
        """
        request = SeekSubscriptionRequest(name=self._name(subscription), position=start_position(position))
        return (await self._rpcs.SeekSubscription(request)).status

    def _name(self, subscription: str) -> str:
        return subscription_name(subscription, self._namespace)


def _timeout(seconds: float | None) -> Duration | None:
    return None if seconds is None else duration("ack_timeout", seconds)
