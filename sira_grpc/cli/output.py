"""How results are printed: as a table for people, or as JSON or YAML for programs; always on stdout."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from rich.console import Console

T = TypeVar("T")
M = TypeVar("M", bound="Message")
Column = tuple[str, Callable[[T], str]]
"""A title, and the cell of one item. A cell may hold rich's markup."""


class Format(StrEnum):
    """What `-o` takes."""

    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def plain(message: Message) -> dict[str, Any]:
    """Returns a message in the protobuf JSON mapping: lowerCamelCase names, and every field that is no message.

    64-bit integers are text in it, as the mapping demands.
    """
    from google.protobuf.json_format import MessageToDict

    return MessageToDict(message, always_print_fields_with_no_presence=True)


class Printer:
    """Prints in one format."""

    def __init__(self, form: Format) -> None:
        self.format = form

    def many(self, messages: Sequence[M], columns: Sequence[Column[M]]) -> None:
        """Prints a list: a row for each message, or one array."""
        if self.format is Format.TABLE:
            self.rows(messages, columns)
        else:
            self.data([plain(message) for message in messages])

    def one(self, message: M, columns: Sequence[Column[M]]) -> None:
        """Prints one message: a line for each column that has something to say, or one object."""
        if self.format is Format.TABLE:
            self._lines(message, columns)
        else:
            self.data(plain(message))

    def facts(self, item: T, columns: Sequence[Column[T]], data: Any) -> None:
        """Prints one item that is no message: a line for each column that has something to say, or plain data."""
        if self.format is Format.TABLE:
            self._lines(item, columns)
        else:
            self.data(data)

    def next(self, message: Message, lines: Callable[[], Iterable[str]]) -> None:
        """Prints one message of a stream at once: the lines, one JSON object on a line, or one YAML document."""
        if self.format is Format.TABLE:
            console = _console()
            for line in lines():
                console.print(line, soft_wrap=True)
            sys.stdout.flush()
        else:
            self.next_data(plain(message))

    def data(self, value: Any) -> None:
        """Prints plain data as JSON or YAML; as YAML too where a table was asked for, for there is none."""
        if self.format is Format.JSON:
            print(json.dumps(value, indent=2, ensure_ascii=False))
        else:
            print(_yaml(value), end="")

    def next_data(self, value: Any) -> None:
        """Prints plain data of a stream at once: one JSON object on a line, or one YAML document."""
        print(json.dumps(value, ensure_ascii=False) if self.format is Format.JSON else "---\n" + _yaml(value).rstrip())
        sys.stdout.flush()

    def line(self, text: str) -> None:
        """Prints a line, which may hold rich's markup, whatever the format."""
        _console().print(text, soft_wrap=True)

    def rows(self, items: Sequence[T], columns: Sequence[Column[T]]) -> None:
        """Prints a table, whatever the format."""
        from rich.table import Table

        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), header_style="bold")
        for title, _ in columns:
            table.add_column(title, overflow="fold")
        for item in items:
            table.add_row(*(cell(item) for _, cell in columns))
        _console().print(table)

    def _lines(self, item: T, columns: Sequence[Column[T]]) -> None:
        from rich.table import Table

        table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0), show_header=False)
        table.add_column(style="bold")
        table.add_column(overflow="fold")
        for title, cell in columns:
            if text := cell(item):
                table.add_row(title, text)
        _console().print(table)


def say(text: str) -> None:
    """Prints chatter, on stderr."""
    print(text, file=sys.stderr, flush=True)


def _console() -> Console:
    """A console that does not break lines where no person reads them."""
    from rich.console import Console

    return Console(highlight=False, width=None if sys.stdout.isatty() else 10_000)


def _yaml(value: Any) -> str:
    import yaml

    return str(yaml.safe_dump(value, sort_keys=False, allow_unicode=True))
