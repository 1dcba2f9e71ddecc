"""LockService: locks and counting semaphores."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing

from sira.cluster.v1 import lock_service_pb2 as pb
from sira.cluster.v1 import lock_service_pb2_grpc as stubs

from sira_grpc.cluster.locks import Locks
from sira_grpc.rpc.call import Context, actor


class LockServicer(stubs.LockServiceServicer):
    """Each method is one command or read of locks; HoldLock is a stream that holds one. See the proto."""

    def __init__(self, locks: Locks) -> None:
        self._locks = locks

    async def HoldLock(
        self, request_iterator: AsyncIterator[pb.HoldLockRequest], context: Context
    ) -> AsyncIterator[pb.HoldLockResponse]:
        """See the proto."""
        async with aclosing(self._locks.hold(request_iterator, actor())) as responses:
            async for response in responses:
                yield response

    async def AcquireLock(self, request: pb.AcquireLockRequest, context: Context) -> pb.AcquireLockResponse:
        """See the proto."""
        return pb.AcquireLockResponse(acquired=await self._locks.acquire(request.acquisition, actor()))

    async def RenewLock(self, request: pb.RenewLockRequest, context: Context) -> pb.RenewLockResponse:
        """See the proto."""
        return pb.RenewLockResponse(acquired=await self._locks.renew(request.lock_key))

    async def ReleaseLock(self, request: pb.ReleaseLockRequest, context: Context) -> pb.ReleaseLockResponse:
        """See the proto."""
        await self._locks.release(request.lock_key)
        return pb.ReleaseLockResponse()

    async def GetLock(self, request: pb.GetLockRequest, context: Context) -> pb.GetLockResponse:
        """See the proto."""
        return pb.GetLockResponse(lock=self._locks.get(request.name))

    async def ListLocks(self, request: pb.ListLocksRequest, context: Context) -> pb.ListLocksResponse:
        """See the proto."""
        page, token = await self._locks.list(request.parent, size=request.page_size, token=request.page_token)
        return pb.ListLocksResponse(locks=page, next_page_token=token)
