"""A rotation of the root with two hundred clients connected, each calling all the while: how many calls fail."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import Any

from grpc import aio
from sira.identity.v1.authority_service_pb2 import GetIdentityStatusRequest, StartRotationRequest
from sira.identity.v1.identity_service_pb2 import (
    IssueCertificateRequest,
    WatchAck,
    WatchOpen,
    WatchTrustBundlesRequest,
    WatchTrustBundlesResponse,
)
from sira.kernel.v1.kernel_service_pb2 import GetStatusRequest
from sira.kernel.v1.kernel_service_pb2_grpc import KernelServiceStub

from bench.figures import Report, percentile
from bench.identity import fleet
from bench.identity.floor import Floor
from bench.identity.kernel import IdentityKernel, authority_stub, channel, identity_stub
from sira_grpc.svid import signing_request, x509_svid
from sira_grpc.svid.identity_directory import IdentityFiles

CLIENTS = 200
CALLS_PER_SECOND = 3.0
WARM_SECONDS = 3.0
DEADLINE_SECONDS = 180.0


class Client:
    """A client that calls at a steady rate, follows the trust bundle, and renews when another authority issues."""

    def __init__(self, kernel: IdentityKernel, number: int, files: IdentityFiles) -> None:
        self._kernel = kernel
        self._number = number
        self._files = files
        self._channel = channel(kernel.address, files)
        self._old: list[aio.Channel] = []
        self._authority = ""
        self.answered = 0
        self.failed: list[str] = []
        self.latencies: list[float] = []

    async def call(self) -> None:
        """Calls for ever."""
        await asyncio.sleep(self._number / CLIENTS / CALLS_PER_SECOND)
        due = time.perf_counter()
        while True:
            begun = time.perf_counter()
            stub: Any = KernelServiceStub(self._channel)
            try:
                await stub.GetStatus(GetStatusRequest(), timeout=10)
                self.answered += 1
                self.latencies.append(time.perf_counter() - begun)
            except aio.AioRpcError as error:
                self.failed.append(f"{error.code().name}: {error.details()}")
            due += 1 / CALLS_PER_SECOND
            await asyncio.sleep(max(0.0, due - time.perf_counter()))

    async def follow(self) -> None:
        """Follows the bundle for ever, on the newest connection: one whose certificate counts no more is ended."""
        while True:
            opened = self._channel
            stream = identity_stub(opened).WatchTrustBundles()
            await stream.write(WatchTrustBundlesRequest(open=WatchOpen(acknowledges=True)))
            while opened is self._channel:
                message = await stream.read()
                assert isinstance(message, WatchTrustBundlesResponse), "it goes on for ever"
                await self._take(message)
                await stream.write(WatchTrustBundlesRequest(ack=WatchAck(revision=message.revision)))
            stream.cancel()

    async def _take(self, message: WatchTrustBundlesResponse) -> None:
        bundle = x509_svid.to_pem([x509_svid.read_der(der) for der in message.bundle.x509_authorities])
        files = IdentityFiles(self._files.svid, self._files.key, bundle)
        if self._authority not in ("", message.issuing_authority):
            key, csr = signing_request.make(fleet.identity(self._number))
            issued = await identity_stub(self._channel).IssueCertificate(IssueCertificateRequest(csr=csr), timeout=30)
            files = fleet.files_of(key, issued)
        self._authority = message.issuing_authority
        if files != self._files:
            opened = channel(self._kernel.address, files)
            await opened.channel_ready()
            self._old.append(self._channel)
            self._files, self._channel = files, opened

    async def close(self) -> None:
        """Disconnects."""
        await asyncio.gather(*(opened.close() for opened in (self._channel, *self._old)))


async def run(report: Report, kernel: IdentityKernel, floor: Floor, folder: Path) -> None:
    """Connects them all, rotates, and counts."""
    clients = [Client(kernel, number, files) for number, files in enumerate(await fleet.issue(kernel, range(CLIENTS)))]
    tasks = [asyncio.create_task(work) for client in clients for work in (client.call(), client.follow())]
    operator = channel(kernel.address, kernel.operator())
    await asyncio.sleep(WARM_SECONDS)
    calm = [latency for client in clients for latency in client.latencies]
    begun = time.perf_counter()
    await authority_stub(operator).StartRotation(StartRotationRequest())
    await asyncio.wait_for(_rotated(kernel), DEADLINE_SECONDS)
    took = time.perf_counter() - begun
    await asyncio.sleep(WARM_SECONDS)
    ended = [task for task in tasks if task.done()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    failed = [failure for client in clients for failure in client.failed]
    for failure in failed[:3]:
        report.say(f"  {failure}")
    calls = sum(client.answered for client in clients) + len(failed)
    report.add(f"root rotation with {CLIENTS} clients: of {calls} calls, failed", len(failed), "calls", at_most=0)
    report.add("streams that broke meanwhile", len(ended), "streams", at_most=0)
    report.add("the rotation took", took, "s")
    busy = percentile([latency for client in clients for latency in client.latencies], 0.99) * 1e3
    report.add("p99 of the calls, beside before", busy, "ms", baseline=percentile(calm, 0.99) * 1e3)
    await asyncio.gather(*(client.close() for client in clients), operator.close())


async def _rotated(kernel: IdentityKernel) -> None:
    """Returns when the rotation is over. The operator's identity changes with it, so it connects anew each time."""
    while True:
        operator = channel(kernel.address, kernel.operator())
        answer = await authority_stub(operator).GetIdentityStatus(GetIdentityStatusRequest(), timeout=30)
        await operator.close()
        if not answer.status.HasField("rotation"):
            return
        await asyncio.sleep(0.5)
