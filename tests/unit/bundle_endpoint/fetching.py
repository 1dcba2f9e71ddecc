"""How tests fetch, by either profile."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography import x509

from sira_grpc.bundle_endpoint import BundleFetcher
from tests.unit.bundle_endpoint.endpoints import KERNEL, ROOT, document, http

ROOTS = (ROOT.certificate,)
GOOD = http("200 OK", document(), Content_Type="application/json")


async def fetch_spiffe(
    address: str | int, *, roots: Sequence[x509.Certificate] = ROOTS, identity: str = KERNEL, seconds: float = 10
) -> bytes:
    where = f"127.0.0.1:{address}" if isinstance(address, int) else address
    return await BundleFetcher(seconds=seconds).fetch(f"https://{where}/", roots=roots, identity=identity)


async def fetch_web(fetcher: BundleFetcher, port: int, path: str = "/") -> bytes:
    return await fetcher.fetch(f"https://localhost:{port}{path}", roots=None, identity="")
