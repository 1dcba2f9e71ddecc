"""The table of the matrix: what is written for how a cell came out, and where."""

from __future__ import annotations

from pathlib import Path

import pytest
from sira.xds.v1.client_pb2 import ClientKind

from tests.mesh.cell import State
from tests.mesh.columns import Column
from tests.mesh.table import BEGIN, END, Outcomes, same, table, write, written
from tests.mesh.trial import Row, Trial

GO = Column("go", "Go", ClientKind.CLIENT_KIND_GO, "go", "go")
JAVA = Column("java", "Java", ClientKind.CLIENT_KIND_JAVA, "java", "java")
VERSIONS = {"go": "1.85", "java": "1.84"}


async def _nothing(trial: Trial) -> None:
    """A row that does nothing."""


def row(name: str, section: str = "First") -> Row:
    return Row(name, name.title(), section, _nothing)


PASSED, FAILED = (State.PASSED, ""), (State.FAILED, "it broke")
LACKS = (State.UNSUPPORTED, "it cannot (source)")


def made(outcomes: Outcomes, *rows: Row) -> str:
    return table(rows, [GO, JAVA], VERSIONS, outcomes)


def test_a_row_has_a_sign_for_each_column_and_a_section_its_heading() -> None:
    outcomes = {("a", "go"): PASSED, ("a", "java"): FAILED, ("b", "go"): PASSED, ("b", "java"): PASSED}
    assert made(outcomes, row("a"), row("b", "Second")).splitlines()[:6] == [
        "| | Go 1.85 | Java 1.84 |",
        "|---|---|---|",
        "| **First** | | |",
        "| A | ✓ | ✗ |",
        "| **Second** | | |",
        "| B | ✓ | ✓ |",
    ]


def test_what_is_not_supported_has_a_note_and_the_same_note_the_same_number() -> None:
    other = (State.UNSUPPORTED, "it does another thing")
    outcomes = {("a", "go"): LACKS, ("a", "java"): other, ("b", "go"): PASSED, ("b", "java"): LACKS}
    lines = made(outcomes, row("a"), row("b")).splitlines()
    assert lines[3:5] == ["| A | — [1] | — [2] |", "| B | ✓ | — [1] |"]
    assert lines[-2:] == ["1. it cannot (source)", "2. it does another thing"]


def test_a_cell_that_was_not_run_is_not_taken_for_one_that_passed() -> None:
    assert "| A | ✓ | ? |" in made({("a", "go"): PASSED}, row("a"))


def test_the_table_is_put_between_the_marks_and_nothing_else_changes(tmp_path: Path) -> None:
    path = tmp_path / "doc.md"
    path.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    write(path, "new\n")
    assert path.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"
    write(path, "new\n")
    assert path.read_text() == f"before\n{BEGIN}\n\nnew\n\n{END}\nafter\n"


@pytest.mark.parametrize("document", ["nothing", BEGIN, END, f"{END}{BEGIN}"])
def test_a_document_without_the_marks_is_refused(document: str) -> None:
    with pytest.raises(ValueError, match="lacks"):
        written(document, "new\n")


def test_a_new_version_of_a_client_is_no_change_but_another_outcome_is() -> None:
    outcomes = {("a", "go"): PASSED, ("a", "java"): PASSED}
    document = written(f"x\n{BEGIN}\n{END}\ny", made(outcomes, row("a")))
    later = table([row("a")], [GO, JAVA], {"go": "1.86", "java": "1.86"}, outcomes)
    assert same(document, later)
    assert not same(document, made({**outcomes, ("a", "java"): LACKS}, row("a")))
