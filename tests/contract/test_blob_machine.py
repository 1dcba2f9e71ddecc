from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import rule

from sira_grpc.store import BLOB_CHUNK_BYTES, Store
from tests.contract.engines import Engine
from tests.contract.machine import StoreMachine, check

CONTENTS = [b"", b"x", b"small" * 100, b"c" * BLOB_CHUNK_BYTES, bytes(range(256)) * 1500]


class BrokenSourceError(Exception):
    """What the source of a blob's bytes raises in these tests."""


class BlobMachine(StoreMachine):
    """The blobs against a set of what was stored."""

    def __init__(self) -> None:
        super().__init__()
        self.stored: set[bytes] = set()

    @rule(content=st.sampled_from(CONTENTS), step=st.integers(1, 200_000))
    def put(self, content: bytes, step: int) -> None:
        assert self.run(self.store.put_blob(_source(content, max(step, len(content) // 10)))) == _digest(content)
        self.stored.add(content)

    @rule(content=st.sampled_from(CONTENTS))
    def put_from_a_broken_source(self, content: bytes) -> None:
        with pytest.raises(BrokenSourceError):
            self.run(self.store.put_blob(_source(content, 1 << 20, broken=True)))

    @rule(content=st.sampled_from(CONTENTS))
    def get(self, content: bytes) -> None:
        if content in self.stored:
            chunks = self.run(_read(self.store, _digest(content)))
            assert b"".join(chunks) == content
            assert max(map(len, chunks), default=0) <= BLOB_CHUNK_BYTES
        else:
            with pytest.raises(KeyError):
                self.run(_read(self.store, _digest(content)))

    @rule(content=st.sampled_from(CONTENTS))
    def has(self, content: bytes) -> None:
        assert self.run(self.store.has_blob(_digest(content))) == (content in self.stored)

    @rule(content=st.sampled_from(CONTENTS))
    def delete(self, content: bytes) -> None:
        self.run(self.store.delete_blob(_digest(content)))
        self.stored.discard(content)

    @rule()
    def reopen(self) -> None:
        self.store = self.run(self.engine.reopen())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


async def _source(content: bytes, step: int, *, broken: bool = False) -> AsyncIterator[bytes]:
    for start in range(0, len(content), step):
        yield content[start : start + step]
    if broken:
        raise BrokenSourceError


async def _read(store: Store, digest: str) -> list[bytes]:
    return [chunk async for chunk in store.get_blob(digest)]


def test_blobs_are_what_was_put(engine: Engine) -> None:
    check(BlobMachine, engine, runs=12, steps=20)
