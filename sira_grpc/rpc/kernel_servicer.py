"""KernelService: how the kernel itself is."""

from __future__ import annotations

from collections.abc import Sequence

from sira.kernel.v1 import kernel_service_pb2 as pb
from sira.kernel.v1 import kernel_service_pb2_grpc as stubs

from sira_grpc import __version__
from sira_grpc.clock import Clock
from sira_grpc.registry.registry import Registry
from sira_grpc.rpc.call import Context
from sira_grpc.store.api import Store
from sira_grpc.times import timestamp


class KernelServicer(stubs.KernelServiceServicer):
    """Tells about one member.

    Args:
        member: its id.
        addresses: where it listens; filled in once it does.
    """

    def __init__(
        self, store: Store, registry: Registry, clock: Clock, *, member: str, addresses: Sequence[str]
    ) -> None:
        self._store = store
        self._registry = registry
        self._member = member
        self._addresses = addresses
        self._started = timestamp(clock.time_ns())

    async def GetStatus(self, request: pb.GetStatusRequest, context: Context) -> pb.GetStatusResponse:
        """See the proto."""
        status = pb.KernelStatus(
            version=__version__,
            member=self._member,
            engine=self._store.engine,
            addresses=self._addresses,
            start_time=self._started,
            revision=self._store.revision,
            store_writable=self._store.writable,
            registry=self._registry.size(),
        )
        return pb.GetStatusResponse(status=status)
