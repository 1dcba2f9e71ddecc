"""The agent's link to the kernel: a connection to one of its members, with the agent's current identity."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from random import Random
from types import TracebackType
from typing import TYPE_CHECKING, TypeVar

import grpc
from sira.identity.v1.identity_service_pb2 import (
    IssueCertificateRequest,
    IssueCertificateResponse,
    IssueJwtRequest,
    IssueJwtResponse,
)
from sira.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sira_client.addresses import grpc_target
from sira_client.dialing import RECONNECT
from sira_client.errors import SiraError, from_rpc_error

from sira_grpc.agent.failures import Refused, Unready
from sira_grpc.agent.keyed_svid import KeyedSvid
from sira_grpc.svid.spiffe_id import SpiffeId

if TYPE_CHECKING:
    from sira.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub

CALL_SECONDS = 10.0
"""How long the kernel has to answer."""
MAX_CALLS = 16
"""Calls at the same time: after a rotation of the root, all that is held is renewed at once."""
OPTIONS = (
    *RECONNECT,
    # A kernel that is gone is found out within 15 s, even while nothing is sent.
    ("grpc.keepalive_time_ms", 10_000),
    ("grpc.keepalive_timeout_ms", 5_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # Channels with another identity must not share a connection.
    ("grpc.use_local_subchannel_pool", 1),
)
_ANOTHER_MEMBER = {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED}
"""Statuses after which another member may do better."""
_REFUSALS = {
    grpc.StatusCode.UNAUTHENTICATED,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.UNIMPLEMENTED,
}

Response = TypeVar("Response")


def kernel_options(trust_domain: str) -> list[tuple[str, str | int]]:
    """Returns the channel options for a kernel: its certificate has this name, whatever its address is."""
    return [*OPTIONS, ("grpc.ssl_target_name_override", f"kernel.{trust_domain}")]


class Connection:
    """A connection to one member with one identity. It is entered for as long as a call is under way."""

    def __init__(self, address: str, channel: grpc.aio.Channel, close: Callable[[grpc.aio.Channel], None]) -> None:
        self.address = address
        self.stub: IdentityServiceAsyncStub = IdentityServiceStub(channel)
        self.retired = asyncio.Event()
        """Another connection takes its place."""
        self._channel = channel
        self._close = close
        self._calls = 0
        self._closed = False

    def __enter__(self) -> Connection:
        """A call begins."""
        self._calls += 1
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """A call is done."""
        self._calls -= 1
        self._close_if_unused()

    def retire(self) -> None:
        """Closes it as soon as its calls are done."""
        self.retired.set()
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self.retired.is_set() and self._calls == 0 and not self._closed:
            self._closed = True
            self._close(self._channel)


class KernelLink:
    """Calls the kernel.

    Args:
        addresses: of the members where client certificates are required; the first one is drawn at random.
        svid: the agent's identity.
        roots: root certificates that the kernel is verified with, PEM.
        random: chance.
    """

    def __init__(self, addresses: Sequence[str], svid: KeyedSvid, roots: bytes, random: Random) -> None:
        self._addresses = list(addresses)
        self._place = random.randrange(len(self._addresses))
        self._svid = svid
        self._roots = roots
        self._closing: set[asyncio.Task[None]] = set()
        self._slots = asyncio.Semaphore(MAX_CALLS)
        self.connection = self._open()

    def use(self, svid: KeyedSvid, roots: bytes) -> None:
        """Calls with another identity, or verifies with other roots, from now on. Calls under way go on as they are."""
        if (svid, roots) != (self._svid, self._roots):
            self._svid, self._roots = svid, roots
            self._replace()

    def leave(self, connection: Connection) -> None:
        """Moves on to the next member, if this is still the current connection and there is another member."""
        if connection is self.connection and len(self._addresses) > 1:
            self._place = (self._place + 1) % len(self._addresses)
            self._replace()

    async def issue_certificate(self, csr: bytes, supersedes: str) -> IssueCertificateResponse:
        """Has a certificate issued.

        Args:
            csr: the request, DER.
            supersedes: serial number of the one that is given up for it; empty for none.

        Raises:
            Refused, Unready.
        """
        request = IssueCertificateRequest(csr=csr, supersedes=supersedes)
        return await self._call(lambda stub: stub.IssueCertificate(request, timeout=CALL_SECONDS))

    async def issue_jwt(self, identity: SpiffeId, audiences: Sequence[str]) -> IssueJwtResponse:
        """Has a JWT-SVID issued.

        Raises:
            Refused, Unready.
        """
        request = IssueJwtRequest(identity=str(identity), audiences=audiences)
        return await self._call(lambda stub: stub.IssueJwt(request, timeout=CALL_SECONDS))

    async def close(self) -> None:
        """Closes the connections. Calls must be over."""
        self.connection.retire()
        await asyncio.gather(*self._closing)

    async def _call(self, call: Callable[[IdentityServiceAsyncStub], Awaitable[Response]]) -> Response:
        """Calls one member after another until one answers."""
        async with self._slots:
            for attempt in range(len(self._addresses)):
                with self.connection as connection:
                    try:
                        return await call(connection.stub)
                    except grpc.aio.AioRpcError as failure:
                        error = from_rpc_error(failure)
                if error.status in _ANOTHER_MEMBER:
                    self.leave(connection)
                if error.status not in _ANOTHER_MEMBER or attempt == len(self._addresses) - 1:
                    break
        raise explain(error, connection.address)

    def _replace(self) -> None:
        old, self.connection = self.connection, self._open()
        old.retire()

    def _open(self) -> Connection:
        address = self._addresses[self._place]
        credentials = grpc.ssl_channel_credentials(self._roots, self._svid.key_pem, self._svid.chain_pem)
        options = kernel_options(self._svid.identity.trust_domain)
        channel = grpc.aio.secure_channel(grpc_target(address), credentials, options)
        return Connection(address, channel, self._close_channel)

    def _close_channel(self, channel: grpc.aio.Channel) -> None:
        task = asyncio.ensure_future(channel.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)


def explain(error: SiraError, address: str) -> Refused | Unready:
    """Says what a failed call means to whoever needed it."""
    facts = {"reason": error.reason, "status": error.status.name}
    if error.status in _REFUSALS:
        return Refused(f"{error.message} [{error.reason or error.status.name}]", metadata=facts)
    return Unready(
        f"the kernel at {address}: {error.message} [{error.reason or error.status.name}]",
        metadata=facts,
        retry_after=error.retry_after,
    )
