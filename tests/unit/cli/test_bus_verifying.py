"""How damage is told, of a server that finds some."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from sira.bus.v1.topic_pb2 import Topic
from sira.bus.v1.topic_service_pb2 import (
    Damage,
    ListTopicsRequest,
    ListTopicsResponse,
    VerifyTopicRequest,
    VerifyTopicResponse,
)
from sira.bus.v1.topic_service_pb2_grpc import TopicServiceServicer, add_TopicServiceServicer_to_server
from typer.testing import CliRunner

from sira_grpc.cli.app import app
from sira_grpc.cli.exits import ExitCode

PARENT = "namespaces/default/topics/"


class Damaged(TopicServiceServicer):
    """Has two topics; two places of the second partition of `broken` are damaged."""

    def ListTopics(self, request: ListTopicsRequest, context: grpc.ServicerContext) -> ListTopicsResponse:
        return ListTopicsResponse(topics=[Topic(name=PARENT + name) for name in ("broken", "whole")])

    def VerifyTopic(self, request: VerifyTopicRequest, context: grpc.ServicerContext) -> Iterator[VerifyTopicResponse]:
        yield VerifyTopicResponse(partition=0, frames=2, records=2000, bytes=1024, done=True, head=b"\xab\xcd")
        if request.name.endswith("broken"):
            first = Damage(offset=17, frame=3, description="the checksum [does] not match")
            second = Damage(offset=-1, frame=4, description="cannot be read")
            yield VerifyTopicResponse(partition=1, frames=1, records=1, bytes=10, damages=[first])
            yield VerifyTopicResponse(partition=1, frames=2, records=1, bytes=10, damages=[second], done=True)


@pytest.fixture(autouse=True)
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Lets commands talk to it."""
    serving = grpc.server(ThreadPoolExecutor(2))
    add_TopicServiceServicer_to_server(Damaged(), serving)  # type: ignore[abstract]  # the others are not asked for
    port = serving.add_insecure_port("127.0.0.1:0")
    serving.start()
    monkeypatch.setenv("SIRA_CONFIG", "/nowhere/config.yaml")
    monkeypatch.setenv("SIRA_ADDR", f"127.0.0.1:{port}")
    yield
    serving.stop(None).wait()


def verify(*arguments: str, code: ExitCode) -> tuple[str, str]:
    result = CliRunner().invoke(app, ["bus", "verify", *arguments])
    assert result.exit_code == code, result.output
    return result.stdout, result.stderr


def test_what_is_whole_ends_well() -> None:
    out, err = verify("whole", code=ExitCode.OK)
    assert out.splitlines()[1].split() == ["whole", "0", "2", "2,000", "1.0", "KiB", "none", "abcd"]
    assert err == ""


def test_damage_is_listed_and_ends_in_an_exit_code_of_its_own() -> None:
    out, err = verify("--all", code=ExitCode.ERROR)
    rows = [line.split() for line in out.splitlines()]
    assert rows[1][:3] == ["broken", "0", "2"]
    assert rows[2] == ["broken", "1", "2", "1", "10", "B", "2"]
    assert rows[3][0] == "whole"
    assert rows[5] == ["TOPIC", "PARTITION", "OFFSET", "FRAME", "DAMAGE"]
    assert rows[6] == ["broken", "1", "17", "3", "the", "checksum", "[does]", "not", "match"]
    assert rows[7] == ["broken", "1", "unknown", "4", "cannot", "be", "read"]
    assert err == "broken/1: 1 record, 10 B read\nsira: 2 damages found\n"


def test_programs_get_every_answer() -> None:
    out, _ = verify("broken", "-o", "json", code=ExitCode.ERROR)
    answers = [json.loads(line) for line in out.splitlines()]
    assert [(each["topic"], each["partition"], each["done"]) for each in answers] == [
        (f"{PARENT}broken", 0, True),
        (f"{PARENT}broken", 1, False),
        (f"{PARENT}broken", 1, True),
    ]
    assert [damage["offset"] for each in answers for damage in each["damages"]] == ["17", "-1"]
