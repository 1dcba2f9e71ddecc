"""Results as tables, JSON and YAML."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence

import pytest
import yaml
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.resolver_service_pb2 import ResolveResponse, WatchProgress, WatchResponse

from sira_grpc.cli.output import Column, Format, Printer, say

PLACES = [Locality(region="eu-west", zone="a"), Locality(region="[bold]")]
COLUMNS: Sequence[Column[Locality]] = (
    ("REGION", lambda place: place.region.replace("[", "\\[")),
    ("ZONE", lambda place: place.zone),
)
PLAIN = [{"region": "eu-west", "zone": "a"}, {"region": "[bold]", "zone": ""}]
Captured = pytest.CaptureFixture[str]


def words(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_a_table_has_a_row_for_each(capsys: Captured) -> None:
    Printer(Format.TABLE).many(PLACES, COLUMNS)
    assert words(capsys.readouterr().out) == [["REGION", "ZONE"], ["eu-west", "a"], ["[bold]"]]


def test_one_as_a_table_has_a_line_for_each_column_that_says_something(capsys: Captured) -> None:
    Printer(Format.TABLE).one(PLACES[1], COLUMNS)
    assert words(capsys.readouterr().out) == [["REGION", "[bold]"]]


def test_json_and_yaml_have_the_same_data(capsys: Captured) -> None:
    Printer(Format.JSON).many(PLACES, COLUMNS)
    assert json.loads(capsys.readouterr().out) == PLAIN
    Printer(Format.YAML).many(PLACES, COLUMNS)
    assert yaml.safe_load(capsys.readouterr().out) == PLAIN
    Printer(Format.JSON).one(PLACES[0], COLUMNS)
    assert json.loads(capsys.readouterr().out) == PLAIN[0]


def test_nothing_is_an_empty_array(capsys: Captured) -> None:
    Printer(Format.JSON).many([], COLUMNS)
    assert json.loads(capsys.readouterr().out) == []


def test_every_field_is_there_in_the_names_of_the_json_mapping(capsys: Captured) -> None:
    Printer(Format.JSON).one(ResolveResponse(revision=7), ())
    assert json.loads(capsys.readouterr().out) == {
        "endpoints": [],
        "lbPolicy": "LB_POLICY_UNSPECIFIED",
        "registered": 0,
        "revision": "7",
    }


def test_a_stream_is_an_object_a_line_or_a_document_each(capsys: Captured) -> None:
    messages = [WatchResponse(revision=revision, progress=WatchProgress()) for revision in (1, 2)]
    for form in (Format.JSON, Format.YAML, Format.TABLE):
        for message in messages:
            Printer(form).next(message, lambda message=message: [f"at {message.revision}"])  # type: ignore[misc]  # bound
    lines = capsys.readouterr().out.splitlines()
    assert [json.loads(line)["revision"] for line in lines[:2]] == ["1", "2"]
    assert [document["revision"] for document in yaml.safe_load_all("\n".join(lines[2:-2]))] == ["1", "2"]
    assert lines[-2:] == ["at 1", "at 2"]


def test_plain_data_has_no_table(capsys: Captured) -> None:
    Printer(Format.TABLE).data({"a": [1]})
    assert yaml.safe_load(capsys.readouterr().out) == {"a": [1]}


def test_lines_are_not_broken_where_nobody_reads_them(capsys: Captured) -> None:
    assert not sys.stdout.isatty()
    Printer(Format.TABLE).many([Locality(region="x" * 500)], COLUMNS)
    assert "x" * 500 in capsys.readouterr().out


def test_chatter_is_no_data(capsys: Captured) -> None:
    say("hello")
    assert capsys.readouterr() == ("", "hello\n")
