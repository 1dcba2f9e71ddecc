"""The calls of PeerService that a member makes for itself, signed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from grpc import aio
from sira.cluster.internal.v1 import peer_service_pb2 as pb

from sira_grpc.rpc.forwarding.carried import carried
from sira_grpc.rpc.forwarding.peer_connection import PeerConnection
from sira_grpc.rpc.forwarding.peers import Peers
from sira_grpc.rpc.forwarding.signature import HEADER, Signer

SERVICE = "sira.cluster.internal.v1.PeerService"
FOLLOW_LOADS, AWAIT_DRAIN = f"{SERVICE}/FollowLoads", f"{SERVICE}/AwaitDrain"


class PeerCalls:
    """Calls other members.

    Args:
        peers: connects to them.
        signer: signs the calls.
        member: id of this member.
    """

    def __init__(self, peers: Peers, signer: Signer, member: str) -> None:
        self._peers = peers
        self._signer = signer
        self._caller = f"members/{member}"

    @property
    def others(self) -> frozenset[str]:
        """The other live members."""
        return self._peers.others

    async def follow_loads(self, member: str, request: pb.FollowLoadsRequest) -> AsyncIterator[pb.FollowLoadsResponse]:
        """Yields what the member answers; nothing if it cannot be reached, or its connection is cut.

        Raises:
            aio.AioRpcError: it has failed.
        """
        connection = await self._peers.reach(member, float("inf"))
        if connection is None:
            return
        outgoing = self._begin(connection, FOLLOW_LOADS, request.SerializeToString(), streams=True, timeout=None)
        try:
            while (response := await _unless_cut(outgoing.read())) not in (None, aio.EOF):
                yield pb.FollowLoadsResponse.FromString(response)
        finally:
            connection.end(outgoing)

    async def await_drain(
        self, member: str, request: pb.AwaitDrainRequest, patience: float
    ) -> pb.AwaitDrainResponse | None:
        """Returns what the member answers within `patience` seconds; None if it does not.

        Raises:
            aio.AioRpcError: it has failed.
        """
        connection = await self._peers.reach(member, patience)
        if connection is None:
            return None
        outgoing = self._begin(connection, AWAIT_DRAIN, request.SerializeToString(), streams=False, timeout=patience)
        try:
            response = await _unless_cut(outgoing)
        finally:
            connection.end(outgoing)
        return None if response is None else pb.AwaitDrainResponse.FromString(response)

    def _begin(
        self, connection: PeerConnection, method: str, data: bytes, *, streams: bool, timeout: float | None
    ) -> Any:
        header = self._signer.sign(method, identity="", caller=self._caller)
        make = connection.callable(method, reads=False, streams=streams)
        outgoing = make(data, timeout=timeout, metadata=(*carried(()), (HEADER, header)))
        connection.begin(outgoing)
        return outgoing


async def _unless_cut(answer: Any) -> Any:
    """Returns an answer; None where the connection was cut, which gRPC tells as if this task were cancelled."""
    try:
        return await answer
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return None
