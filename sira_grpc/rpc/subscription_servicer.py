"""SubscriptionService: which subscriptions there are, and the delivery of records."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing, suppress

from sira.bus.v1 import subscription_service_pb2 as pb
from sira.bus.v1 import subscription_service_pb2_grpc as stubs
from sira.bus.v1.subscription_pb2 import Subscription

from sira_grpc.bus.bus import Bus
from sira_grpc.bus.view import SubscriptionEntry
from sira_grpc.errors import SiraError
from sira_grpc.rpc.call import Context, actor


class SubscriptionServicer(stubs.SubscriptionServiceServicer):
    """Each method is one command or read of subscriptions; Subscribe is a stream of deliveries. See the proto."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def CreateSubscription(
        self, request: pb.CreateSubscriptionRequest, context: Context
    ) -> pb.CreateSubscriptionResponse:
        """See the proto."""
        entry = await self._bus.subscriptions.create(request.subscription)
        return pb.CreateSubscriptionResponse(subscription=await self._written(entry))

    async def GetSubscription(self, request: pb.GetSubscriptionRequest, context: Context) -> pb.GetSubscriptionResponse:
        """See the proto."""
        entry = await self._bus.subscription(request.name)
        return pb.GetSubscriptionResponse(subscription=await self._described(entry))

    async def ListSubscriptions(
        self, request: pb.ListSubscriptionsRequest, context: Context
    ) -> pb.ListSubscriptionsResponse:
        """See the proto."""
        page, token = await self._bus.subscriptions.list(
            request.parent, size=request.page_size, token=request.page_token
        )
        return pb.ListSubscriptionsResponse(subscriptions=page, next_page_token=token)

    async def UpdateSubscription(
        self, request: pb.UpdateSubscriptionRequest, context: Context
    ) -> pb.UpdateSubscriptionResponse:
        """See the proto."""
        entry = await self._bus.subscriptions.update(request.subscription, request.update_mask)
        return pb.UpdateSubscriptionResponse(subscription=await self._written(entry))

    async def DeleteSubscription(
        self, request: pb.DeleteSubscriptionRequest, context: Context
    ) -> pb.DeleteSubscriptionResponse:
        """See the proto."""
        await self._bus.subscriptions.delete(request.name, etag=request.etag, force=request.force)
        return pb.DeleteSubscriptionResponse()

    async def PauseSubscription(
        self, request: pb.PauseSubscriptionRequest, context: Context
    ) -> pb.PauseSubscriptionResponse:
        """See the proto."""
        entry = await self._bus.subscriptions.pause(request.name)
        return pb.PauseSubscriptionResponse(subscription=await self._written(entry))

    async def ResumeSubscription(
        self, request: pb.ResumeSubscriptionRequest, context: Context
    ) -> pb.ResumeSubscriptionResponse:
        """See the proto."""
        entry = await self._bus.subscriptions.resume(request.name)
        return pb.ResumeSubscriptionResponse(subscription=await self._written(entry))

    async def SeekSubscription(
        self, request: pb.SeekSubscriptionRequest, context: Context
    ) -> pb.SeekSubscriptionResponse:
        """See the proto."""
        return pb.SeekSubscriptionResponse(status=await self._bus.seek(request.name, request.position))

    async def Subscribe(  # type: ignore[override]  # bytes pass through the serializer of this method
        self, request_iterator: AsyncIterator[pb.SubscribeRequest], context: Context
    ) -> AsyncIterator[pb.SubscribeResponse | bytes]:
        """See the proto. Deliveries are serialized already."""
        async with aclosing(self._bus.subscribing.serve(request_iterator, actor())) as messages:
            async for message in messages:
                yield message

    async def _described(self, entry: SubscriptionEntry) -> Subscription:
        status = await self._bus.subscription_status(entry)
        subscription = Subscription()
        subscription.CopyFrom(entry.message)
        subscription.status.CopyFrom(status)
        return subscription

    async def _written(self, entry: SubscriptionEntry) -> Subscription:
        """Returns a subscription as a command has left it.

        Without its status where that cannot be had: another member has the namespace by now, the store cannot be read,
        or the subscription is deleted. An error would say that the command was not done.
        """
        subscription = Subscription()
        subscription.CopyFrom(entry.message)
        current = self._bus.view.subscriptions_by_uid.get(entry.uid)
        if current is not None:
            with suppress(SiraError):
                subscription.status.CopyFrom(await self._bus.subscription_status(current))
        return subscription
