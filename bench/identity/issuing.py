"""Certificates a second: for join tokens, and for a caller that is entitled to them, beside the floor over TLS."""

from __future__ import annotations

import asyncio
from pathlib import Path

from google.protobuf.duration_pb2 import Duration
from sira.identity.v1.authority_service_pb2 import CreateJoinTokenRequest
from sira.identity.v1.identity_service_pb2 import IssueCertificateRequest
from sira.identity.v1.join_token_pb2 import JoinToken

from bench.figures import Report, median
from bench.identity.fleet import identity
from bench.identity.floor import Floor
from bench.identity.kernel import TRUST_DOMAIN, IdentityKernel, authority_stub, channel, identity_stub
from bench.load import Rate, closed_loop
from sira_grpc.svid import signing_request

ROUNDS = 3
CALLS = 1_500
CONCURRENCY = 64
CHANNELS = 4


async def run(report: Report, kernel: IdentityKernel, floor: Floor, folder: Path) -> None:
    """Both grounds, A B A B with the floor."""
    csrs = await asyncio.to_thread(lambda: [signing_request.make(identity(i))[1] for i in range(CALLS)])
    files = kernel.operator()
    operator = channel(kernel.address, files)
    token = JoinToken(identities=[f"spiffe://{TRUST_DOMAIN}/ns/default/svc/*"], max_uses=ROUNDS * CALLS + 1)
    created = await authority_stub(operator).CreateJoinToken(
        CreateJoinTokenRequest(join_token=token, ttl=Duration(seconds=3600))
    )
    joining = [IssueCertificateRequest(csr=csr, join_token=created.secret) for csr in csrs]
    entitled = [IssueCertificateRequest(csr=csr) for csr in csrs]
    await _measure(report, "certificates issued for a join token", kernel.token_address, joining, floor, tls_only=True)
    await _measure(report, "certificates issued to an operator", kernel.address, entitled, floor, tls_only=False)
    await operator.close()


async def _measure(
    report: Report,
    name: str,
    address: str,
    requests: list[IssueCertificateRequest],
    floor: Floor,
    *,
    tls_only: bool,
) -> None:
    files = None if tls_only else floor.files
    opened = [channel(address, files, floor.files.bundle) for _ in range(CHANNELS)]
    bare = [channel(floor.plain if tls_only else floor.mutual, files, floor.files.bundle) for _ in range(CHANNELS)]
    stubs = [identity_stub(each) for each in opened]
    raw = [bytes_channel.unary_unary("/bare.Bare/Answer") for bytes_channel in floor.raw(bare)]
    answer = await stubs[0].IssueCertificate(requests[0])
    await floor.raw(bare)[0].unary_unary("/bare.Bare/Load")(answer.SerializeToString())
    asked = [request.SerializeToString() for request in requests]
    ours: list[Rate] = []
    theirs: list[Rate] = []
    for _ in range(ROUNDS):
        ours.append(
            await closed_loop(
                lambda i: stubs[i % CHANNELS].IssueCertificate(requests[i]), concurrency=CONCURRENCY, calls=CALLS
            )
        )
        theirs.append(await closed_loop(lambda i: raw[i % CHANNELS](asked[i]), concurrency=CONCURRENCY, calls=CALLS))
    report.add(
        name,
        median([rate.rate for rate in ours]),
        "certificates/s",
        durability="its record is fdatasynced before the answer",
        baseline=median([rate.rate for rate in theirs]),
        at_least=500,
    )
    await asyncio.gather(*(each.close() for each in (*opened, *bare)))
