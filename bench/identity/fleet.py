"""Identities for the measurements: keys and requests made before the clock runs, certificates from the kernel."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from google.protobuf.duration_pb2 import Duration
from sira.identity.v1.identity_service_pb2 import IssueCertificateRequest, IssueCertificateResponse

from bench.identity.kernel import TRUST_DOMAIN, IdentityKernel, channel, identity_stub
from sira_grpc.svid import signing_request, x509_svid
from sira_grpc.svid.identity_directory import IdentityFiles
from sira_grpc.svid.spiffe_id import SpiffeId

AT_ONCE = 32
CHANNELS = 4


def identity(number: int) -> SpiffeId:
    """The identity of a number."""
    return SpiffeId(TRUST_DOMAIN, ("ns", "default", "svc", f"s{number}"))


def files_of(key: ec.EllipticCurvePrivateKey, issued: IssueCertificateResponse) -> IdentityFiles:
    """What an answer of the kernel comes to, PEM."""
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return IdentityFiles(
        svid=x509_svid.to_pem([x509_svid.read_der(der) for der in issued.chain]),
        key=private,
        bundle=x509_svid.to_pem([x509_svid.read_der(der) for der in issued.bundle.x509_authorities]),
    )


async def issue(kernel: IdentityKernel, numbers: Sequence[int], *, ttl: int = 0) -> list[IdentityFiles]:
    """Has the operator issue an identity for each number.

    Args:
        kernel: issues.
        numbers: whom for.
        ttl: seconds; 0 for the kernel's default.
    """
    opened = [channel(kernel.address, kernel.operator()) for _ in range(CHANNELS)]
    stubs = [identity_stub(each) for each in opened]
    limit = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> IdentityFiles:
        key, csr = signing_request.make(identity(number))
        request = IssueCertificateRequest(csr=csr, ttl=Duration(seconds=ttl) if ttl else None)
        async with limit:
            return files_of(key, await stubs[number % CHANNELS].IssueCertificate(request))

    try:
        return list(await asyncio.gather(*(one(number) for number in numbers)))
    finally:
        await asyncio.gather(*(each.close() for each in opened))
