"""Every Python example in the client's README runs, in its order, against a real kernel."""

from __future__ import annotations

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import pytest

from tests.integration.sira_process import dev

README = Path(__file__).parents[2] / "sdks" / "python" / "README.md"


async def test_the_examples_run(capsys: pytest.CaptureFixture[str]) -> None:
    examples = re.findall(r"^```python\n(.*?)^```", README.read_text(), re.DOTALL | re.MULTILINE)
    assert len(examples) == 6
    names: dict[str, Any] = {"__name__": "readme"}
    with dev() as kernel:
        address = kernel.json()["addresses"][0]
        for example in examples:
            code = compile(
                example.replace("127.0.0.1:7400", address), str(README), "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
            )
            running = eval(code, names)
            if inspect.isawaitable(running):
                await running
    printed = capsys.readouterr().out
    assert "RegistrationState.HELD" in printed
    assert "b'Hello, world'" in printed
    assert "SERVICE_NOT_FOUND" in printed
