"""The table of the matrix in a document, between two marks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.mesh.cell import State
from tests.mesh.columns import Column
from tests.mesh.trial import Row

BEGIN = "<!-- matrix: written by `python -m tests.mesh --write` -->"
END = "<!-- matrix ends -->"
_SIGNS = {State.PASSED: "✓", State.FAILED: "✗", State.SKIPPED: "?"}

Outcomes = Mapping[tuple[str, str], tuple[State, str]]
"""By row and column, how the cell came out, and why."""


def table(rows: Sequence[Row], columns: Sequence[Column], versions: Mapping[str, str], outcomes: Outcomes) -> str:
    """Returns the matrix in Markdown, with a note for every cell that is not supported.

    Args:
        rows, columns: of the matrix.
        versions: of the clients, by column.
        outcomes: see Outcomes.
    """
    notes: dict[str, int] = {}
    return "\n".join([*_lines(rows, columns, versions, outcomes, notes), "", *_notes(notes)]) + "\n"


def written(document: str, made: str) -> str:
    """Returns a document with the table in its place.

    Raises:
        ValueError: it has no place for it.
    """
    before, begin, rest = document.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"the document lacks {BEGIN!r} and {END!r}")
    return f"{before}{BEGIN}\n\n{made}\n{END}{after}"


def same(document: str, made: str) -> bool:
    """Whether a document has this table already, whatever the versions of the clients in it.

    Raises:
        ValueError: it has no place for it.
    """
    return _versionless(written(document, made)) == _versionless(document)


def _versionless(document: str) -> str:
    """A document without the line of the table that names the clients."""
    before, begin, rest = document.partition(f"{BEGIN}\n\n")
    return before + begin + rest.partition("\n")[2]


def write(path: Path, made: str) -> None:
    """Puts the table into a file."""
    path.write_text(written(path.read_text(encoding="utf-8"), made), encoding="utf-8")


def _lines(
    rows: Sequence[Row],
    columns: Sequence[Column],
    versions: Mapping[str, str],
    outcomes: Outcomes,
    notes: dict[str, int],
) -> Iterator[str]:
    yield f"| | {' | '.join(f'{column.title} {versions[column.name]}'.strip() for column in columns)} |"
    yield "|---" * (len(columns) + 1) + "|"
    section = ""
    for row in rows:
        if row.section != section:
            section = row.section
            yield f"| **{section}** |" + " |" * len(columns)
        signs = [_sign(*outcomes.get((row.name, column.name), (State.SKIPPED, "")), notes) for column in columns]
        yield f"| {row.title} | {' | '.join(signs)} |"


def _sign(state: State, note: str, notes: dict[str, int]) -> str:
    if state is not State.UNSUPPORTED:
        return _SIGNS[state]
    return f"— [{notes.setdefault(note, len(notes) + 1)}]"


def _notes(notes: Mapping[str, int]) -> Iterator[str]:
    yield "✓ passes; — is not supported by that client:"
    if notes:
        yield ""
    yield from (f"{number}. {note}" for note, number in notes.items())
