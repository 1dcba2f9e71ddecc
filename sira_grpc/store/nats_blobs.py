"""The blobs: their chunks on a subject of each upload, and a manifest by digest that makes one whole.

A chunk may be there twice, when its acknowledgement was lost: its place is in it, so the reader takes the first. An
upload that ended before its manifest leaves chunks; they are removed when a store is opened a day later.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from typing import TypeVar

from sira_grpc.clock import Clock
from sira_grpc.errors import StoreUnavailable
from sira_grpc.store.api import BLOB_CHUNK_BYTES
from sira_grpc.store.nats_envelope import Damaged, FrameMessage, decode_frame, encode_frame
from sira_grpc.store.nats_errors import Lost, Refused, corrupt, unavailable
from sira_grpc.store.nats_gate import Gate
from sira_grpc.store.nats_link import Link, answer
from sira_grpc.store.nats_names import Names
from sira_grpc.store.nats_reader import StreamReader
from sira_grpc.store.nats_streams import CALL_SECONDS, Streams
from sira_grpc.store.rechunking import rechunked
from sira_grpc.store.validation import is_digest

CHUNKS_IN_FLIGHT = 16
READ_BYTES = 4 << 20
READ_CHUNKS = READ_BYTES // BLOB_CHUNK_BYTES
TRY_SECONDS = 2.0
REPAIR_TRIES = 6
ABANDONED_NS = 24 * 3600 * 10**9
_NO_LIFE = bytes(8)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class _Manifest:
    """Where a blob's chunks are: the id of its upload, how many, and the sequence of the first."""

    upload: str
    count: int
    first: int


class NatsBlobs:
    """Implements BlobStore."""

    def __init__(
        self,
        link: Link,
        names: Names,
        streams: Streams,
        gate: Gate,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._link = link
        self._names = names
        self._streams = streams
        self._gate = gate
        self._clock = clock
        self._random_bytes = random_bytes
        self._reader = StreamReader(link, names.blobs)

    async def put_blob(self, chunks: AsyncIterator[bytes]) -> str:
        """See BlobStore."""
        self._gate.check()
        await self._trying(lambda: self._streams.ensure(self._names.blobs, self._subjects))
        upload = self._random_bytes(16)
        subject = self._names.chunks + upload.hex()
        try:
            digest, count, first = await self._upload(chunks, upload, subject)
            manifest = json.dumps({"upload": upload.hex(), "count": count, "first": first}).encode()
            kept = await self._trying(lambda: self._keep(digest, manifest))
        except BaseException:
            await asyncio.shield(self._discard(subject))
            raise
        if not kept:
            await self._discard(subject)
        return digest

    @property
    def _subjects(self) -> list[str]:
        return [f"{self._names.chunks}*", f"{self._names.manifests}*"]

    async def _upload(self, chunks: AsyncIterator[bytes], upload: bytes, subject: str) -> tuple[str, int, int]:
        """Stores the chunks; returns the digest of all, how many they are, and the sequence of the first."""
        sha256 = hashlib.sha256()
        sending: set[asyncio.Task[int]] = set()
        sequences: list[int] = []
        count = 0
        try:
            async for chunk in rechunked(chunks):
                sha256.update(chunk)
                while len(sending) >= CHUNKS_IN_FLIGHT:
                    sequences += await _some(sending)
                time_ns = self._clock.time_ns()
                message = FrameMessage(upload, 1, 1, time_ns, count, _NO_LIFE, chunk)
                sending.add(asyncio.create_task(self._send(subject, encode_frame(message))))
                count += 1
            while sending:
                sequences += await _some(sending)
        finally:
            for task in sending:
                task.cancel()
            await asyncio.gather(*sending, return_exceptions=True)
        return sha256.hexdigest(), count, min(sequences, default=0)

    async def _send(self, subject: str, payload: bytes) -> int:
        async def send() -> int:
            reply = await self._link.request(subject, payload, within=TRY_SECONDS)
            return int(answer(reply)["seq"])

        return await self._trying(send)

    async def _keep(self, digest: str, manifest: bytes) -> bool:
        """Makes a blob whole; False if it is there already, from another upload."""
        subject = self._names.manifests + digest
        found = await self._reader.last(subject)
        if found is not None:
            return found.payload == manifest
        headers = {"Nats-Expected-Last-Subject-Sequence": "0"}
        reply = await self._link.request(subject, manifest, within=TRY_SECONDS, headers=headers)
        answer(reply)
        return True

    async def _discard(self, subject: str) -> None:
        with suppress(Lost, Refused, StoreUnavailable):  # what stays is removed when a store is opened
            await self._purge(subject)

    async def get_blob(self, digest: str) -> AsyncGenerator[bytes, None]:
        """See BlobStore."""
        self._gate.check_open()
        manifest = await self._find(digest)
        if manifest is None:
            raise KeyError(digest)
        sha256 = hashlib.sha256()
        async for chunk in self._chunks(digest, manifest):
            sha256.update(chunk)
            yield chunk
        if sha256.hexdigest() != digest:
            raise corrupt(f"the blob {digest}")

    async def _chunks(self, digest: str, manifest: _Manifest) -> AsyncGenerator[bytes, None]:
        subject = self._names.chunks + manifest.upload
        position, places = manifest.first, 0
        waiting: dict[int, bytes] = {}
        while places < manifest.count:
            found = await self._trying(lambda at=position: self._run(at, subject))  # type: ignore[misc]  # bound now
            if not found:
                if await self._find(digest) is None:
                    raise KeyError(digest)
                raise corrupt(f"the blob {digest}")
            for sequence, message in found:
                position = sequence + 1
                if message.offset >= places:
                    waiting[message.offset] = message.data
            while places in waiting:
                yield waiting.pop(places)
                places += 1

    async def _run(self, sequence: int, subject: str) -> list[tuple[int, FrameMessage]]:
        """Reads some chunks; one is read again, from whichever replica answers, if it is damaged."""
        for _ in range(REPAIR_TRIES):
            found = await self._reader.run(sequence, max_messages=READ_CHUNKS, max_bytes=READ_BYTES, subject=subject)
            if not found and (sure := await self._reader.at(sequence, subject)):
                found = [sure]
            with suppress(Damaged):
                return [(one.sequence, decode_frame(one.payload)) for one in found]
        raise corrupt(f"a blob's chunk after {sequence} of {subject}")

    async def has_blob(self, digest: str) -> bool:
        """See BlobStore."""
        self._gate.check_open()
        return await self._find(digest) is not None

    async def delete_blob(self, digest: str) -> None:
        """See BlobStore."""
        self._gate.check()
        manifest = await self._find(digest)
        if manifest is not None:
            await self._trying(lambda: self._purge(self._names.manifests + digest))
            await self._trying(lambda: self._purge(self._names.chunks + manifest.upload))

    async def _purge(self, subject: str) -> None:
        await self._link.api(f"STREAM.PURGE.{self._names.blobs}", {"filter": subject}, within=CALL_SECONDS)

    async def _find(self, digest: str) -> _Manifest | None:
        """Asks the leader for a blob's manifest."""
        if not is_digest(digest):
            return None
        if await self._trying(lambda: self._streams.info(self._names.blobs)) is None:
            return None
        found = await self._trying(lambda: self._reader.last(self._names.manifests + digest))
        if found is None:
            return None
        try:
            said = json.loads(found.payload)
            return _Manifest(str(said["upload"]), int(said["count"]), int(said["first"]))
        except (ValueError, KeyError, TypeError) as error:
            raise corrupt(f"the manifest of the blob {digest}") from error

    async def remove_abandoned(self) -> None:
        """Removes the chunks of uploads that ended before their manifest, a day ago or longer.

        Raises:
            Lost, Refused: it could not.
        """
        chunks = await self._subjects_below(self._names.chunks)
        if not chunks:
            return
        for subject in await self._subjects_below(self._names.manifests):
            found = await self._find(subject[len(self._names.manifests) :])
            if found is not None:
                chunks.discard(self._names.chunks + found.upload)
        for subject in chunks:
            last = await self._reader.last(subject)
            with suppress(Damaged):
                if last and decode_frame(last.payload).time_ns < self._clock.time_ns() - ABANDONED_NS:
                    await self._purge(subject)

    async def _subjects_below(self, prefix: str) -> set[str]:
        subjects: set[str] = set()
        call = f"STREAM.INFO.{self._names.blobs}"
        if await self._streams.info(self._names.blobs) is None:
            return subjects
        while True:
            body = {"subjects_filter": f"{prefix}*", "offset": len(subjects)}
            info = await self._link.api(call, body, within=CALL_SECONDS)
            page = info["state"].get("subjects") or {}
            subjects.update(page)
            if not page or len(subjects) >= int(info.get("total", 0)):
                return subjects

    async def _trying(self, work: Callable[[], Awaitable[T]]) -> T:
        """Does what may be done again until an answer comes, or time is up."""
        deadline = self._gate.deadline()
        while True:
            try:
                await self._link.up(deadline)
                return await work()
            except (Lost, Refused) as error:
                self._gate.check_open()
                if asyncio.get_running_loop().time() >= deadline:
                    raise unavailable(str(error), sent=True) from error
            await asyncio.sleep(0.1)


async def _some(tasks: set[asyncio.Task[int]]) -> list[int]:
    """Waits for some of the tasks, takes them out and returns their results."""
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    tasks -= done
    return [task.result() for task in done]
