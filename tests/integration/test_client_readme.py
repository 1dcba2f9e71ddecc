"""Every Python example in the client's README runs, in its order, against a real kernel."""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from sira_client import connect_insecure

from tests.integration.sira_process import dev

README = Path(__file__).parents[2] / "sdks" / "python" / "README.md"


async def greet(request: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
    return b"Hello, " + request


@pytest.fixture
async def address() -> AsyncIterator[str]:
    """A kernel at which a greeter is registered."""
    server = grpc.aio.server()
    methods: dict[str, grpc.RpcMethodHandler[Any, Any]] = {"Greet": grpc.unary_unary_rpc_method_handler(greet)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("demo.Greeter", methods),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    with dev() as kernel:
        running = kernel.json()["addresses"][0]
        async with connect_insecure(running) as client, client.register("greeter", port=port):
            yield running
    await server.stop(None)


async def test_the_examples_run(address: str, capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    assert len(examples) == 10
    names: dict[str, Any] = {"__name__": "readme"}
    for example in examples:
        code = compile(example.replace("127.0.0.1:7400", address), str(README), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
        running = eval(code, names)
        if inspect.isawaitable(running):
            await running
    printed = capsys.readouterr().out
    assert "RegistrationState.HELD" in printed
    assert "b'Hello, world'" in printed
    assert "SERVICE_NOT_FOUND" in printed
    assert " 0 disk\n" in printed
    assert "\none\n" in printed
    assert "holds True False\n" in printed
    assert "leads a True\n" in printed
