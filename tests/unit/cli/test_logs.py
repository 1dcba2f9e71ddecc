"""The log of a kernel that the command runs."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from sira_grpc.cli import logs
from sira_grpc.config import LogConfig


@pytest.fixture(autouse=True)
def root() -> Iterator[None]:
    """Gives the root logger back as it was."""
    logger = logging.getLogger()
    handlers, level = logger.handlers[:], logger.level
    yield
    logger.handlers[:] = handlers
    logger.setLevel(level)


def test_lines_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogConfig(level="warning"))
    logging.getLogger("sira_grpc.x").info("not this")
    logging.getLogger("sira_grpc.x").warning("that %s", "one")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.endswith(" WARNING sira_grpc.x: that one\n")
    assert captured.err.count("\n") == 1


def test_json_has_one_object_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(LogConfig(format="json"))
    logging.getLogger("sira_grpc.x").info("two\nlines")
    try:
        raise ZeroDivisionError("by design")
    except ZeroDivisionError:
        logging.getLogger("sira_grpc.x").exception("failed")
    plain, failed = (json.loads(line) for line in capsys.readouterr().err.splitlines())
    assert plain | {"time": ""} == {"time": "", "level": "info", "logger": "sira_grpc.x", "message": "two\nlines"}
    assert plain["time"].endswith("+00:00")
    assert "ZeroDivisionError: by design" in failed["exception"]
