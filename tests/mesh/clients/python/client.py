"""The Python client of the matrix: see PROTOCOL.md."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Mapping
from typing import Any

import grpc
import grpc.experimental
from grpc import aio

TEXTS = 5
DEFAULTS: Mapping[str, Any] = {
    "creds": "insecure",
    "authority": "",
    "n": 1,
    "concurrency": 1,
    "rps": 100,
    "method": "/mesh.Echo/Call",
    "metadata": {},
    "timeout": 10,
    "wait": False,
    "header": "",
}


class Tally:
    """What became of calls."""

    def __init__(self) -> None:
        self._reset()

    def _reset(self) -> None:
        self._began = time.perf_counter()
        self._slowest = 0.0
        self._codes: Counter[str] = Counter()
        self._by: Counter[str] = Counter()
        self._details: dict[str, None] = {}
        self._headers: dict[str, None] = {}

    def ok(self, by: bytes, took: float) -> None:
        """Counts a call that succeeded."""
        self._codes["OK"] += 1
        self._by[by.decode()] += 1
        self._slowest = max(self._slowest, took)

    def failed(self, error: aio.AioRpcError, took: float) -> None:
        """Counts a call that failed."""
        self._codes[error.code().name] += 1
        self._slowest = max(self._slowest, took)
        if len(self._details) < TEXTS:
            self._details[error.details() or ""] = None

    def header(self, value: str | bytes) -> None:
        """Keeps a header of an answer."""
        if len(self._headers) < TEXTS:
            self._headers[value if isinstance(value, str) else value.decode()] = None

    def take(self) -> dict[str, Any]:
        """Returns what was counted and begins anew."""
        told = {
            "codes": self._codes,
            "by": self._by,
            "details": list(self._details),
            "headers": list(self._headers),
            "slowest_ms": self._slowest * 1000,
            "took_ms": (time.perf_counter() - self._began) * 1000,
        }
        self._reset()
        return told


class Load:
    """A steady load: each call at its time, whatever became of the ones before."""

    def __init__(self, channel: Channel, asked: Mapping[str, Any]) -> None:
        self.tally = Tally()
        self._channel = channel
        self._asked = asked
        self._under_way: set[asyncio.Task[None]] = set()
        self._ticking = asyncio.create_task(self._tick())

    async def _tick(self) -> None:
        loop = asyncio.get_running_loop()
        began, made = loop.time(), 0
        while True:
            while made < (loop.time() - began) * self._asked["rps"]:
                made += 1
                call = asyncio.create_task(self._channel.one(self._asked, self.tally))
                self._under_way.add(call)
                call.add_done_callback(self._under_way.discard)
            await asyncio.sleep(1 / self._asked["rps"])

    async def stop(self) -> dict[str, Any]:
        """Ends it, and waits for what is under way."""
        self._ticking.cancel()
        await asyncio.gather(self._ticking, return_exceptions=True)
        await asyncio.gather(*self._under_way)
        return self.tally.take()


class Channel:
    """A channel and the load on it, if there is one."""

    def __init__(self, target: str, creds: str, authority: str) -> None:
        plain = grpc.experimental.insecure_channel_credentials()  # type: ignore[no-untyped-call]  # is so in its stubs
        credentials = grpc.xds_channel_credentials(plain) if creds == "xds" else plain
        options = [("grpc.default_authority", authority)] if authority else []
        self.channel = aio.secure_channel(target, credentials, options=options)
        self.load: Load | None = None

    async def one(self, asked: Mapping[str, Any], into: Tally) -> None:
        """Makes a call and counts it."""
        began = time.perf_counter()
        method: aio.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(asked["method"])
        call = method(
            b"", metadata=tuple(asked["metadata"].items()), timeout=asked["timeout"], wait_for_ready=asked["wait"]
        )
        try:
            into.ok(await call, time.perf_counter() - began)
        except aio.AioRpcError as error:
            into.failed(error, time.perf_counter() - began)
        if asked["header"]:
            for key, value in await call.initial_metadata():
                if key == asked["header"]:
                    into.header(value)

    async def calls(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Makes n calls, so many at a time."""
        into, left = Tally(), iter(range(asked["n"]))

        async def work() -> None:
            for _ in left:
                await self.one(asked, into)

        await asyncio.gather(*(work() for _ in range(asked["concurrency"])))
        return into.take()


class Client:
    """Has the channels by their names."""

    def __init__(self) -> None:
        self._channels: dict[str, Channel] = {}

    async def answer(self, line: Mapping[str, Any]) -> None:
        """Carries out a line, and prints the answer."""
        try:
            answer = await self._carry_out({**DEFAULTS, **line})
        except (KeyError, ValueError) as error:
            answer = {"error": repr(error)}
        print(json.dumps({"id": line["id"], **answer}), flush=True)

    async def _carry_out(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        if asked["op"] == "open":
            self._channels[asked["channel"]] = Channel(asked["target"], asked["creds"], asked["authority"])
            return {}
        on = self._channels[asked["channel"]]
        match asked["op"]:
            case "call":
                return await on.calls(asked)
            case "load":
                on.load = Load(on, asked)
                return {}
            case "close":
                await self._channels.pop(asked["channel"]).channel.close()
                return {}
        if on.load is None:
            raise KeyError("there is no load")
        if asked["op"] == "loaded":
            return on.load.tally.take()
        ending, on.load = on.load, None
        return await ending.stop()


async def main() -> None:
    """Carries out the lines of stdin, until its end."""
    client, lines = Client(), asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(lines), sys.stdin)
    under_way = set[asyncio.Task[None]]()
    while line := await lines.readline():
        task = asyncio.create_task(client.answer(json.loads(line)))
        under_way.add(task)
        task.add_done_callback(under_way.discard)


if __name__ == "__main__":
    asyncio.run(main())
