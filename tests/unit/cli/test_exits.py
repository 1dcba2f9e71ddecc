"""Exit codes: documented, and given for every gRPC status."""

from __future__ import annotations

import re
from pathlib import Path

import grpc

from sira_grpc.cli.exits import STATUS_EXITS, ExitCode

DOCS = Path(__file__).parents[3] / "docs" / "cli.md"


def test_the_documentation_has_every_code_and_no_other() -> None:
    rows = re.findall(r"^\| (\d+) \| ([A-Z_]+) \|", DOCS.read_text(), re.MULTILINE)
    assert [(int(code), name) for code, name in rows] == [(code.value, code.name) for code in ExitCode]


def test_the_documentation_names_the_statuses_beside_their_code() -> None:
    for line in DOCS.read_text().splitlines():
        row = re.match(r"\| (\d+) \| [A-Z_]+ \| (.*) \|", line)
        for status in re.findall(r"[A-Z]+_[A-Z_]+", row[2]) if row else ():
            assert STATUS_EXITS[status] == int(row[1]) if row else False


def test_only_statuses_of_grpc_have_a_code() -> None:
    assert {status.name for status in grpc.StatusCode} >= STATUS_EXITS.keys()
