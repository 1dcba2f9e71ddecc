"""Ten thousand identities that renew at half of their lives, each over a connection of its own: what they cost."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from sira.identity.v1.identity_service_pb2 import IssueCertificateRequest

from bench.figures import Report
from bench.identity import fleet
from bench.identity.floor import Floor
from bench.identity.kernel import IdentityKernel, channel, identity_stub
from sira_grpc.svid import signing_request
from sira_grpc.svid.identity_directory import IdentityFiles

COUNT = 10_000
TTL_SECONDS = 600
"""A sixth of the default, so that six times as many renew a second as would by default."""
MEASURED_SECONDS = 45


async def run(report: Report, kernel: IdentityKernel, floor: Floor, folder: Path) -> None:
    """Issues them all, then has them renew at the pace of their half lives for a while."""
    held = await fleet.issue(kernel, range(COUNT), ttl=TTL_SECONDS)
    pace = COUNT / (TTL_SECONDS / 2)
    failed = 0
    tasks: set[asyncio.Task[None]] = set()

    async def renew(number: int) -> None:
        nonlocal failed
        try:
            held[number] = await _renew(kernel, number, held[number])
        except Exception as error:  # noqa: BLE001 - whatever it is, it is a renewal that failed
            failed += 1
            report.say(f"  renewal failed: {error}")

    used, begun = kernel.server.cpu_seconds(), time.perf_counter()
    count = round(pace * MEASURED_SECONDS)
    for number in range(count):
        task = asyncio.create_task(renew(number % COUNT))
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        await asyncio.sleep(max(0.0, begun + (number + 1) / pace - time.perf_counter()))
    await asyncio.gather(*tasks)
    share = (kernel.server.cpu_seconds() - used) / (time.perf_counter() - begun)
    name = f"{COUNT} identities of {TTL_SECONDS} s renew at half life, {pace:.0f}/s"
    report.add(name, share, "cores", durability="each record is fdatasynced before the answer", at_most=0.5)
    report.add(f"of {count} renewals, failed", failed, "renewals", at_most=0)
    report.add(f"memory of the kernel with {COUNT} identities", kernel.server.resident_bytes() / 2**20, "MiB")


async def _renew(kernel: IdentityKernel, number: int, files: IdentityFiles) -> IdentityFiles:
    key, csr = signing_request.make(fleet.identity(number))
    opened = channel(kernel.address, files)
    try:
        request = IssueCertificateRequest(csr=csr, ttl=Duration(seconds=TTL_SECONDS))
        return fleet.files_of(key, await identity_stub(opened).IssueCertificate(request, timeout=10))
    finally:
        await opened.close()
