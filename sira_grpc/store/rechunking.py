"""Bytes in chunks of one size, as blobs are stored."""

from __future__ import annotations

from collections.abc import AsyncIterator

from sira_grpc.store.api import BLOB_CHUNK_BYTES


async def rechunked(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Yields the same bytes in chunks of BLOB_CHUNK_BYTES, but for the last."""
    rest = bytearray()
    async for chunk in chunks:
        rest += chunk
        while len(rest) >= BLOB_CHUNK_BYTES:
            yield bytes(rest[:BLOB_CHUNK_BYTES])
            del rest[:BLOB_CHUNK_BYTES]
    if rest:
        yield bytes(rest)
