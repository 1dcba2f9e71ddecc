"""Keeps gRPC's server going when a client calls a method whose name is no UTF-8.

The server's main loop in grpc.aio decodes the names of methods strictly, at least up to grpcio 1.85: one such call, by
a client that need not have shown who it is, ends the loop, and with it the server. Nothing of gRPC's can be set against
it. So the handler of decoding errors lets names through in that loop alone, with a replacement character: they name a
method that is not there.
"""

from __future__ import annotations

import asyncio
import codecs

_LOOP = "AioServer._server_main_loop"
_REPLACEMENT = "\N{REPLACEMENT CHARACTER}"
_strict = codecs.lookup_error("strict")


def tolerate_undecodable() -> None:
    """Has the main loops of all servers in this process tolerate such names. Idempotent."""
    codecs.register_error("strict", _in_main_loop_replaced)


def _in_main_loop_replaced(error: UnicodeError) -> tuple[str | bytes, int]:
    if isinstance(error, UnicodeDecodeError) and _in_main_loop():
        return _REPLACEMENT, error.end
    return _strict(error)


def _in_main_loop() -> bool:
    try:
        task = asyncio.current_task()
    except RuntimeError:  # in a thread without an event loop
        return False
    return task is not None and getattr(task.get_coro(), "__qualname__", "") == _LOOP
