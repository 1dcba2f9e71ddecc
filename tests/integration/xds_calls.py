"""Plain gRPC clients that find services over xDS, each a process of its own, and a server for them to call."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent import futures
from contextlib import contextmanager
from pathlib import Path
from queue import Queue
from threading import Event, Thread
from typing import Any, Self

import grpc

from tests.integration.sira_process import DEADLINE

PROGRAM = Path(__file__).parent / "xds_caller_process.py"


class XdsCaller:
    """A client of one target. See xds_caller_process.

    Args:
        target: such as `xds:///checkout`.
        environment: what tells it where its bootstrap is.
    """

    def __init__(self, target: str, environment: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(PROGRAM), target],
            env={**os.environ, **environment},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._lines: Queue[str] = Queue()
        self._reader = Thread(target=self._read)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *failure: object) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for stream in (self._process.stdin, self._process.stdout):
            if stream is not None:
                stream.close()

    def call(self, method: str = "Say") -> str:
        """Calls a method and returns its status; of `hold`, what came first."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{method}\n")
        self._process.stdin.flush()
        return self._lines.get(timeout=DEADLINE)

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line.strip())


@contextmanager
def echo() -> Iterator[int]:
    """Serves `test.Echo` on loopback and yields the port."""
    over = Event()

    def hold(request: bytes, context: Any) -> Iterator[bytes]:
        yield b"held"
        over.wait()

    handlers: dict[str, Any] = {
        "Say": grpc.unary_unary_rpc_method_handler(lambda request, context: request),
        "Hold": grpc.unary_stream_rpc_method_handler(hold),
    }
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Echo", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield port
    finally:
        over.set()
        server.stop(None).wait()
