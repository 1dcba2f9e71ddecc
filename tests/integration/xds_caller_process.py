"""A gRPC client with nothing but a bootstrap in its environment: a process of its own, for gRPC reads that once.

For each line on stdin, the name of a method, it calls that at the target that it was started with, and prints a line
with the status. `hold` calls one that does not end, and prints a line once it is under way.
"""

from __future__ import annotations

import sys
from typing import Any

import grpc


def main(target: str) -> None:
    """Calls until stdin ends."""
    with grpc.insecure_channel(target) as channel:
        held: list[Any] = []
        for line in sys.stdin:
            method = line.strip()
            if method == "hold":
                stream: Any = channel.unary_stream("/test.Echo/Hold")
                held.append(stream(b""))
                print(next(held[-1]).decode(), flush=True)
                continue
            try:
                unary: Any = channel.unary_unary(f"/test.Echo/{method}")
                unary(b"", timeout=20)
                print("OK", flush=True)
            except grpc.RpcError as error:
                print(error.code().name, flush=True)
        for call in held:
            call.cancel()


if __name__ == "__main__":
    main(*sys.argv[1:])
