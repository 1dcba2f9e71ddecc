"""The code blocks of a document: files, and commands with what they print."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

_BLOCK = re.compile(r"^(?:<!-- (?P<note>[a-z ]+) -->\n)?```(?P<kind>\w+)\n(?P<body>.*?)^```$", re.MULTILINE | re.DOTALL)
_GAP = re.compile(r"\s*…\s*")


@dataclass
class Command:
    """A command, and the lines that the document shows as its output, where `…` is any text, or any lines."""

    line: int
    text: str
    keeps_running: bool
    soon: bool
    expected: list[str] = field(default_factory=list)

    def matches(self, output: str) -> bool:
        """Whether an output is what is shown, but for the width of columns."""
        pattern = "".join(_pattern(line) for line in self.expected)
        lines = [" ".join(line.split()) for line in output.splitlines()]
        return re.fullmatch(pattern, "".join(f"{line}\n" for line in lines)) is not None


@dataclass
class File:
    """A file that the reader is to write."""

    name: str
    text: str


def blocks(path: Path) -> Iterator[Command | File]:
    """Yields the commands and files of a document in order.

    A block is written with its language. `console` holds commands after `$ ` and their output; what else there is
    holds a file whose first line is a comment with its name. A comment before a block, which readers do not see,
    says `keeps running` of a command that goes on after what it prints, or `soon` of one that may have to be repeated
    until it prints it.
    """
    text = path.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        line = text.count("\n", 0, match.start()) + 1
        if match["kind"] != "console":
            yield File(match["body"].splitlines()[0].removeprefix("# "), match["body"])
            continue
        assert match["note"] in {None, "keeps running", "soon"}, f"line {line}: unknown note {match['note']!r}"
        yield from _commands(match["body"], line, match["note"] or "")


def _commands(body: str, line: int, note: str) -> Iterator[Command]:
    command: Command | None = None
    for shown in body.splitlines():
        if not shown.startswith("$ "):
            assert command is not None, f"line {line}: output before any command"
            command.expected.append(shown)
            continue
        if command is not None:
            yield command
        command = Command(line, shown.removeprefix("$ "), note == "keeps running", note == "soon")
    assert command is not None, f"line {line}: a block without a command"
    yield command


def _pattern(line: str) -> str:
    if line.strip() == "…":
        return r"(?:.*\n)*?"
    parts = (re.escape(" ".join(part.split())) for part in _GAP.split(line))
    return ".*?".join(parts) + r"\n"
