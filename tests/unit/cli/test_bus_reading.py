"""Reading payloads: from what is there at once, and from what comes bit by bit."""

from __future__ import annotations

import asyncio
import io
import os
from collections.abc import AsyncIterator
from pathlib import Path
from typing import IO

import pytest

from sira_grpc.cli.bus import reading
from sira_grpc.cli.bus.payload_source import PayloadSource
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure


async def all_of(lines: AsyncIterator[bytes]) -> list[bytes]:
    return [line async for line in lines]


def stream(content: bytes) -> IO[bytes]:
    return io.BytesIO(content)


async def test_everything() -> None:
    assert await reading.whole(stream(b"a\nb\n"), "x") == b"a\nb\n"
    assert await reading.whole(stream(b""), "x") == b""


async def test_lines_without_their_ends_and_without_empty_ones() -> None:
    assert await all_of(reading.lines(stream(b"a\n\nb\r\n\xff"), "x")) == [b"a", b"b", b"\xff"]


async def test_lines_longer_than_what_is_read_at_once() -> None:
    long = b"x" * (reading.CHUNK_BYTES * 3)
    assert await all_of(reading.lines(stream(long + b"\n" + long), "x")) == [long, long]


async def test_what_no_record_may_have_is_refused() -> None:
    large = bytes(reading.MAX_BYTES + 1)
    with pytest.raises(Failure, match=r"^stdin: must be at most 1,048,576 bytes, or --lines") as refused:
        await reading.whole(stream(large), "stdin")
    assert refused.value.code is ExitCode.USAGE
    with pytest.raises(Failure, match=r"^stdin: line 2 must be at most 1,048,576 bytes"):
        await all_of(reading.lines(stream(b"a\n" + large * 2), "stdin"))


async def test_a_line_is_there_as_soon_as_it_is_written() -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as pipe:
        lines = reading.lines(pipe, "x")
        for line in (b"a", b"b"):
            waiting = asyncio.ensure_future(anext(lines))
            os.write(write, line + b"\n")
            assert await waiting == line
        os.close(write)
        assert await all_of(lines) == []


async def test_waiting_for_a_line_can_be_given_up() -> None:
    read, write = os.pipe()
    with os.fdopen(read, "rb", buffering=0) as pipe, os.fdopen(write, "wb"):
        waiting = asyncio.ensure_future(anext(reading.lines(pipe, "x")))
        await asyncio.sleep(0)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting


async def test_payloads_come_from_an_argument_or_a_file(tmp_path: Path) -> None:
    file = tmp_path / "records"
    file.write_bytes(b"a\nb\n")
    assert await all_of(PayloadSource("käse", None, False, 2).payloads()) == ["käse".encode()] * 2
    assert await all_of(PayloadSource(None, file, False, 1).payloads()) == [b"a\nb\n"]
    assert await all_of(PayloadSource("-", file, True, 2).payloads()) == [b"a", b"a", b"b", b"b"]
    with pytest.raises(Failure, match=r"^--file: "):
        await all_of(PayloadSource(None, tmp_path / "nowhere", False, 1).payloads())
