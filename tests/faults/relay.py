"""A process that passes TCP connections on, link by link, and slows, holds or cuts them as it is told.

It reads orders from stdin, one JSON object a line, and answers each with a line. It ends with its stdin.
"""

from __future__ import annotations

import asyncio
import json
import socket
import struct
import sys
from contextlib import suppress
from typing import Any

import uvloop

CHUNK = 1 << 16
_ABORT = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: closing resets


class Link:
    """One port that is listened on, and where what comes there goes.

    Args:
        port: on loopback, where connections are passed on to.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._delay = 0.0
        self._cut = False
        self._passing = asyncio.Event()
        self._passing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._server: asyncio.Server | None = None

    async def listen(self) -> int:
        """Listens on a free port of loopback and returns it."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0, limit=CHUNK)
        return int(self._server.sockets[0].getsockname()[1])

    def set(self, mode: str, delay: float) -> None:
        """Changes how connections are treated.

        Args:
            mode: `pass`; `hold`, as a network does that loses all packets: what is sent comes when it passes again;
                `cut`: connections are reset, and so are new ones.
            delay: seconds that each piece of at most 64 KiB is kept, in either direction.
        """
        self._delay = delay
        self._cut = mode == "cut"
        if mode == "hold":
            self._passing.clear()
        else:
            self._passing.set()
        if self._cut:
            for writer in list(self._writers):
                _reset(writer)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        beyond: asyncio.StreamWriter | None = None
        try:
            await self._passing.wait()
            if self._cut:
                _reset(writer)
                return
            far, beyond = await asyncio.open_connection("127.0.0.1", self._port, limit=CHUNK)
            self._writers.add(beyond)
            async with asyncio.TaskGroup() as group:
                group.create_task(self._pump(reader, beyond))
                group.create_task(self._pump(far, writer))
        except* OSError:
            pass  # the other side is not there, or no more: the end of both is all there is to say
        finally:
            for each in (writer, beyond):
                if each is not None:
                    self._writers.discard(each)
                    each.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(CHUNK):
            if self._delay:
                await asyncio.sleep(self._delay)
            await self._passing.wait()
            if writer.is_closing():
                return
            writer.write(data)
            await writer.drain()
        await self._passing.wait()
        if not writer.is_closing():
            with suppress(OSError):
                writer.write_eof()


def _reset(writer: asyncio.StreamWriter) -> None:
    found = writer.get_extra_info("socket")
    if found is not None:
        with suppress(OSError):
            found.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABORT)
    writer.transport.abort()


async def _obey(links: dict[str, Link], order: dict[str, Any]) -> dict[str, Any]:
    if order["do"] == "open":
        link = links[order["link"]] = Link(order["port"])
        return {"port": await link.listen()}
    for name in order["links"]:
        links[name].set(order["mode"], order["delay"])
    return {}


async def main() -> None:
    """Obeys until there are no more orders."""
    loop = asyncio.get_running_loop()
    orders = asyncio.StreamReader()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(orders), sys.stdin)
    links: dict[str, Link] = {}
    while line := await orders.readline():
        print(json.dumps(await _obey(links, json.loads(line))), flush=True)


if __name__ == "__main__":
    uvloop.run(main())
