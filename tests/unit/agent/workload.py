"""A program that asks the agent: a plain gRPC client of the Workload API, and an agent to ask."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import msgspec
from grpc import aio
from sira.identity.workload.v1 import workload_pb2

from sira_grpc.agent import Agent, AgentConfig, Joining
from sira_grpc.agent.settling import passed
from tests.unit.agent.kernel_double import KernelDouble

HEADER = (("workload.spiffe.io", "true"),)
CHECKOUT, ORDERS = "ns/default/svc/checkout", "ns/default/svc/orders"
MINE = {"identity": CHECKOUT, "uid": os.geteuid()}
"""An entry that matches the test itself."""
ALL = "ns/*/svc/*"


class Program:
    """The five methods. Each takes its request's fields, and sends the header unless it is told otherwise."""

    def __init__(self, socket: Path, metadata: Sequence[tuple[str, str]] = HEADER) -> None:
        # Channels to one address would share a connection, and so a process.
        options = (("grpc.use_local_subchannel_pool", 1),)
        self._channel = aio.insecure_channel(f"unix:{socket}", options)
        self._metadata = tuple(metadata)

    async def close(self) -> None:
        await self._channel.close()

    def x509_svids(self) -> Any:
        return self._stream("FetchX509SVID", workload_pb2.X509SvidRequest(), workload_pb2.X509SvidResponse)

    def x509_bundles(self) -> Any:
        return self._stream("FetchX509Bundles", workload_pb2.X509BundlesRequest(), workload_pb2.X509BundlesResponse)

    def jwt_bundles(self) -> Any:
        return self._stream("FetchJWTBundles", workload_pb2.JwtBundlesRequest(), workload_pb2.JwtBundlesResponse)

    async def jwt_svids(self, *audience: str, spiffe_id: str = "") -> workload_pb2.JwtSvidResponse:
        request = workload_pb2.JwtSvidRequest(audience=audience, spiffe_id=spiffe_id)
        answer: workload_pb2.JwtSvidResponse = await self._call("FetchJWTSVID", request, workload_pb2.JwtSvidResponse)
        return answer

    async def validate(self, token: str, audience: str) -> workload_pb2.ValidateJwtSvidResponse:
        request = workload_pb2.ValidateJwtSvidRequest(svid=token, audience=audience)
        answer: workload_pb2.ValidateJwtSvidResponse = await self._call(
            "ValidateJWTSVID", request, workload_pb2.ValidateJwtSvidResponse
        )
        return answer

    def _stream(self, method: str, request: Any, response: Any) -> Any:
        channel: Any = self._channel
        call = channel.unary_stream(
            f"/SpiffeWorkloadAPI/{method}", type(request).SerializeToString, response.FromString
        )
        return call(request, metadata=self._metadata, timeout=20)

    async def _call(self, method: str, request: Any, response: Any) -> Any:
        channel: Any = self._channel
        call = channel.unary_unary(f"/SpiffeWorkloadAPI/{method}", type(request).SerializeToString, response.FromString)
        return await call(request, metadata=self._metadata, timeout=20)


@asynccontextmanager
async def program(socket: Path, metadata: Sequence[tuple[str, str]] = HEADER) -> AsyncIterator[Program]:
    made = Program(socket, metadata)
    try:
        yield made
    finally:
        await made.close()


def config(
    kernel: KernelDouble,
    socket: Path | None = None,
    *,
    workloads: Sequence[Mapping[str, Any]] = (MINE,),
    files: Sequence[Mapping[str, Any]] = (),
) -> AgentConfig:
    """The configuration of an agent of a kernel."""
    served: dict[str, Any] = {"socket": str(socket), "workloads": list(workloads)} if socket else {}
    return msgspec.convert({"kernel": [kernel.door], **served, "files": list(files)}, AgentConfig)


def joining(kernel: KernelDouble, *delegated: str) -> Joining:
    """The right to join as node/one, for some other identities too."""
    return Joining(kernel.token_door, kernel.token("node/one", *(delegated or (ALL,))), "node/one")


@asynccontextmanager
async def served(
    kernel: KernelDouble, place: Path, *, workloads: Sequence[Mapping[str, Any]] = (MINE,), **further: Any
) -> AsyncIterator[tuple[Agent, Program]]:
    """An agent that has joined, and a program that asks it."""
    socket = place / "run" / "agent.sock"
    configured = config(kernel, socket, workloads=workloads)
    async with (
        Agent(configured, place / "home", joining=joining(kernel), **further) as agent,
        program(socket) as asking,
    ):
        yield agent, asking


async def written(agent: Agent, identity: str) -> None:
    """Returns once an agent has an identity, and what it keeps on disk is there."""
    holdings = agent._holdings
    assert holdings is not None
    subscriber = holdings.streams.subscribe(holdings.streams.revision)
    while not any(held.svid and held.identity.path == identity for held in holdings.held):
        await subscriber.wait()
        subscriber.sent(holdings.streams.revision)
    subscriber.close()
    await passed(holdings.files)


async def failure(call: Any) -> tuple[grpc.StatusCode, str]:
    """How a call fails that must."""
    try:
        answer = await call
    except aio.AioRpcError as error:
        return error.code(), error.details() or ""
    raise AssertionError(f"the call went through: {answer}")
