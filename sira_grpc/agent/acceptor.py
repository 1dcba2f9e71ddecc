"""The front of the Workload API: accepts local connections, finds out who is there, and passes their bytes on.

gRPC does not tell who is at the other end of a Unix socket. So each connection is accepted here, and its bytes are
passed on over a second one to gRPC's private socket. That one is bound to an abstract name, which gRPC does tell: by it
the servicer finds the process. The names are random, and nobody but the agent may enter the folder of the private
socket: so nobody can come in under somebody else's name.
"""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from sira_grpc.agent.attestation import NotAttested, Process, attest

_log = logging.getLogger(__name__)

MAX_CONNECTIONS = 1000
"""Connections at the same time. Each takes four file descriptors."""
MAX_CONNECTIONS_PER_UID = 200
"""Of one user: nobody can keep the others out."""
NAME_BYTES = 16
_CHUNK = 65_536
_AT_ONCE = 64
"""Connections that are accepted in one go."""
_PAUSE_SECONDS = 0.2
"""How long no connection is accepted when the process is out of file descriptors or memory."""
_EXHAUSTED = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM}
_PEER = "unix-abstract:"


class Acceptor:
    """Accepts, attests and passes on.

    Args:
        private: path of gRPC's socket.
        random_bytes: must be unpredictable.
        most, most_per_uid: see MAX_CONNECTIONS and MAX_CONNECTIONS_PER_UID.
    """

    def __init__(
        self,
        private: Path,
        *,
        random_bytes: Callable[[int], bytes],
        most: int = MAX_CONNECTIONS,
        most_per_uid: int = MAX_CONNECTIONS_PER_UID,
    ) -> None:
        self._private = str(private)
        self._random_bytes = random_bytes
        self._most = most
        self._most_per_uid = most_per_uid
        self._processes: dict[str, Process] = {}
        self._of_uid: Counter[int] = Counter()
        self._connections: set[asyncio.Task[None]] = set()

    @property
    def connections(self) -> int:
        """Connections that are open."""
        return len(self._connections)

    def process_of(self, peer: str) -> Process | None:
        """Returns the process behind what gRPC says of a peer; None for who did not come through here."""
        if not peer.startswith(_PEER):
            return None
        return self._processes.get(peer.removeprefix(_PEER))

    async def run(self, listener: socket.socket) -> None:
        """Accepts, until it is cancelled. Connections go on until `close`.

        Args:
            listener: listens and does not block.
        """
        loop = asyncio.get_running_loop()
        while True:
            try:
                connection, _ = await loop.sock_accept(listener)
                self._admit(connection)
                for connection in _waiting(listener):
                    self._admit(connection)
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    _log.error("cannot accept a connection: %s", error)
                    await asyncio.sleep(_PAUSE_SECONDS)
                elif error.errno != errno.ECONNABORTED:  # somebody who was gone again at once
                    raise

    async def close(self) -> None:
        """Ends every connection."""
        for task in tuple(self._connections):
            task.cancel()
        await asyncio.gather(*self._connections, return_exceptions=True)

    def _admit(self, connection: socket.socket) -> None:
        """Finds out who connects, and passes his bytes on if there is room."""
        try:
            process = attest(connection)
        except (NotAttested, OSError) as error:
            _log.debug("a connection is not served: %s", error)
            connection.close()
            return
        if len(self._connections) >= self._most or self._of_uid[process.uid] >= self._most_per_uid:
            _log.warning("user %d has %d connections, and gets no more", process.uid, self._of_uid[process.uid])
            connection.close()
            return
        name = f"sira-{self._random_bytes(NAME_BYTES).hex()}"
        self._processes[name] = process
        self._of_uid[process.uid] += 1
        task = asyncio.create_task(self._serve(connection, name))
        self._connections.add(task)
        task.add_done_callback(lambda done: self._gone(done, connection, name))

    async def _serve(self, connection: socket.socket, name: str) -> None:
        with socket.socket(socket.AF_UNIX) as inner, suppress(OSError):  # of connections that break
            connection.setblocking(False)
            inner.setblocking(False)
            inner.bind(f"\0{name}")
            await asyncio.get_running_loop().sock_connect(inner, self._private)
            await _join(connection, inner)

    def _gone(self, task: asyncio.Task[None], connection: socket.socket, name: str) -> None:
        """Forgets a connection. A callback, because a task that is cancelled before it began does nothing."""
        connection.close()
        self._connections.discard(task)
        process = self._processes.pop(name)
        self._of_uid[process.uid] -= 1
        if not self._of_uid[process.uid]:
            del self._of_uid[process.uid]
        if not task.cancelled() and task.exception() is not None:
            _log.error("the connection of process %d failed", process.pid, exc_info=task.exception())


def _waiting(listener: socket.socket) -> Iterator[socket.socket]:
    """Yields those who wait to be accepted, so many that others get a turn in between."""
    with suppress(BlockingIOError):
        for _ in range(_AT_ONCE):
            yield listener.accept()[0]


async def _join(one: socket.socket, other: socket.socket) -> None:
    """Passes bytes between two sockets, both ways, until one of them ends."""
    ways = {asyncio.create_task(_pump(one, other)), asyncio.create_task(_pump(other, one))}
    try:
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)


async def _pump(source: socket.socket, sink: socket.socket) -> None:
    """Passes bytes one way until the source ends. A sink that does not take them holds the source back."""
    loop = asyncio.get_running_loop()
    with suppress(OSError):
        while data := await loop.sock_recv(source, _CHUNK):
            await loop.sock_sendall(sink, data)
