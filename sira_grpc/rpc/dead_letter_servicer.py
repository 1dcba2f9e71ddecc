"""DeadLetterService: the records that subscriptions gave up."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sira.bus.v1 import dead_letter_service_pb2 as pb
from sira.bus.v1 import dead_letter_service_pb2_grpc as stubs

from sira_grpc.rpc.call import Context

if TYPE_CHECKING:
    from sira_grpc.bus.bus import Bus


class DeadLetterServicer(stubs.DeadLetterServiceServicer):
    """Each method is one command on, or read of, the dead letters of a subscription. See the proto."""

    def __init__(self, bus: Bus) -> None:
        self._bus = bus

    async def ListDeadLetters(self, request: pb.ListDeadLettersRequest, context: Context) -> pb.ListDeadLettersResponse:
        """See the proto."""
        letters = await self._bus.dead_letters_of(await self._bus.subscription(request.parent))
        page, token = await letters.list(request.filter, size=request.page_size, token=request.page_token)
        return pb.ListDeadLettersResponse(dead_letters=page, next_page_token=token)

    async def GetDeadLetter(self, request: pb.GetDeadLetterRequest, context: Context) -> pb.GetDeadLetterResponse:
        """See the proto."""
        subscription, _, dead = request.name.partition("/deadLetters/")
        letters = await self._bus.dead_letters_of(await self._bus.subscription(subscription))
        return pb.GetDeadLetterResponse(dead_letter=await letters.get(int(dead)))

    async def RedriveDeadLetters(
        self, request: pb.RedriveDeadLettersRequest, context: Context
    ) -> pb.RedriveDeadLettersResponse:
        """See the proto."""
        entry = await self._bus.subscription(request.parent)
        if request.topic:
            await self._bus.topic(request.topic)  # one that was just created at another member is there now
        return await self._bus.redriving.redrive(entry, await self._bus.dead_letters_of(entry), request)

    async def PurgeDeadLetters(
        self, request: pb.PurgeDeadLettersRequest, context: Context
    ) -> pb.PurgeDeadLettersResponse:
        """See the proto."""
        entry = await self._bus.subscription(request.parent)
        return await self._bus.redriving.purge(await self._bus.dead_letters_of(entry), request)
