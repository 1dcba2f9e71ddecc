"""`sira bus` against a kernel that runs: topics and subscriptions, and records that go in and come out."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from sira_grpc.cli.exits import ExitCode
from tests.integration.bus_commands import bus, data, refusal, run, stream
from tests.integration.sira_process import DEADLINE, SiraProcess, dev

NUMBERS = count(1)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where a kernel is."""
    with dev() as kernel:
        yield kernel.json()["addresses"][0]
        assert kernel.interrupt() == ExitCode.OK


@pytest.fixture(autouse=True)
def topic(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A topic of two partitions, of each test's own, whose subscription `{topic}` begins with the earliest."""
    monkeypatch.setenv("SIRA_ADDR", address)
    monkeypatch.setenv("SIRA_CONFIG", "/nowhere/config.yaml")
    name = f"t{next(NUMBERS)}"
    bus("topics", "create", name, "--partitions", "2")
    bus("subs", "create", name, "--topic", name, "--start", "earliest", "--min-backoff", "0", "--max-deliveries", "2")
    return name


def texts(records: list[dict[str, str]]) -> list[str]:
    return sorted(record["text"] for record in records)


def test_topics_live(topic: str) -> None:
    name = f"{topic}.eu.created"
    made = data("topics", "create", name, "--max-age", "1h", "--compact", "--description", "[red]x")
    assert made["retention"]["maxAge"] == "3600s"
    assert made["compaction"] == {}
    assert [each["name"] for each in data("topics", f"{topic}.>")] == [made["name"]]
    assert "[red]x" in bus("topics", "list", f"{topic}.*.created")
    changed = data("topics", "set", name, "--no-compact", "--max-records", "10", "--etag", made["etag"])
    assert "compaction" not in changed
    assert changed["retention"]["maxAge"] == "3600s"
    stale = refusal("topics", "set", name, "--max-records", "1", "--etag", made["etag"], code=ExitCode.CONFLICT)
    assert "[ETAG_MISMATCH]" in stale
    bus("pub", name, "x")
    assert "[NOT_EMPTY]" in refusal("topics", "delete", name, code=ExitCode.CONFLICT)
    assert run("topics", "delete", name, "--force") == ("", f"deleted {made['name']}\n")
    assert "[TOPIC_NOT_FOUND]" in refusal("topics", "show", name, code=ExitCode.NOT_FOUND)


def test_a_topic_is_shown_with_what_it_holds_and_who_reads_it(topic: str) -> None:
    bus("pub", topic, "x", "--count", "3", "--key", "k")
    bus("pub", topic, "x", "--delay", "1h")
    shown = data("topics", "show", topic)
    assert shown["subscriptions"] == [f"namespaces/default/subscriptions/{topic}"]
    partitions = shown["status"]["partitions"]
    assert sorted(each["nextOffset"] for each in partitions) == ["0", "3"]
    assert sorted(each["scheduled"] for each in partitions) == ["0", "1"]
    table = bus("topics", "show", topic)
    assert f"SUBSCRIPTIONS   {topic}" in table
    assert "PARTITION   FIRST   NEXT" in table


def test_subscriptions_live(topic: str) -> None:
    name = f"{topic}-live"
    made = data("subs", "create", name, "--topic", topic, "--topic", "other.*", "--ordered", "--ack-timeout", "5s")
    assert made["topics"] == [topic, "other.*"]
    assert (made["mode"], made["ackTimeout"]) == ("SUBSCRIPTION_MODE_ORDERED", "5s")
    assert data("subs", "set", name, "--max-deliveries", "3")["retry"]["maxDeliveries"] == 3
    assert data("subs", "pause", name)["paused"] is True
    assert "paused" in bus("subs")
    assert data("subs", "resume", name)["paused"] is False
    assert name in [each["name"].rpartition("/")[2] for each in data("subs", "list")]
    assert run("subs", "delete", name)[1].startswith("deleted ")
    assert "[SUBSCRIPTION_NOT_FOUND]" in refusal("subs", "show", name, code=ExitCode.NOT_FOUND)


def test_a_subscription_is_moved(topic: str) -> None:
    bus("pub", topic, "x", "--count", "5", "--key", "k")
    (full,) = [each for each in data("subs", "show", topic)["status"]["partitions"] if each["nextOffset"] == "5"]
    for position, lag in (("latest", "0"), ("earliest", "5"), (f"{topic}/{full['partition']}@3", "2"), ("1h", "5")):
        assert data("subs", "seek", topic, position)["lag"] == lag
    assert "RETRYING" in bus("subs", "seek", topic, "earliest")
    assert "LAG" in bus("subs", "show", topic)


def test_records_go_in_from_everywhere_and_come_out(topic: str, tmp_path: Path) -> None:
    file = tmp_path / "records"
    file.write_bytes(b"from a\nfile\n")
    (told,) = stream("pub", topic, "argument", "--key", "k", "--header", "a=b", "--id", "i", "--content-type", "text/x")
    assert told == {
        "topic": topic,
        "partition": told["partition"],
        "offset": "0",
        "durability": "DURABILITY_DISK",
        "duplicate": False,
    }
    assert bus("pub", topic, "-", stdin=b"whole\nstdin").endswith("  disk\n")
    assert len(stream("pub", topic, "--lines", "--compression", "zstd", stdin=b"one\ntwo\n")) == 2
    bus("pub", topic, "--file", str(file))
    out, err = run("pub", topic, "--file", str(file), "--lines", "--quiet")
    assert (out, err) == ("", f"2 records published to {topic} (disk)\n")

    got = stream("sub", topic, "--max", "7")
    assert texts(got) == ["argument", "file", "from a", "from a\nfile\n", "one", "two", "whole\nstdin"]
    (first,) = [each for each in got if each["text"] == "argument"]
    assert (first["record"]["id"], first["record"]["key"], first["attempt"]) == ("i", "aw==", 1)
    assert first["record"]["attributes"] == {"headers": {"a": "b"}, "contentType": "text/x"}
    assert data("subs", "show", topic)["status"]["lag"] == "0"


def test_what_is_sent_again_or_later_is_told(topic: str) -> None:
    bus("pub", topic, "x", "--key", "k", "--id", "i")
    assert bus("pub", topic, "x", "--key", "k", "--id", "i").endswith("  disk  duplicate\n")
    assert bus("pub", topic, "x", "--key", "k", "--deliver-at", "+1h").endswith("  disk  scheduled\n")


def test_what_cannot_be_published_is_refused(topic: str) -> None:
    assert "[TOPIC_NOT_FOUND]" in refusal("pub", "nothing", "x", code=ExitCode.NOT_FOUND)
    bus("topics", "create", f"{topic}.small", "--max-record-bytes", "10", "--max-records", "2", "--when-full", "refuse")
    assert "at most 10 bytes" in refusal("pub", f"{topic}.small", "x" * 11, code=ExitCode.USAGE)
    _, err = run("pub", f"{topic}.small", "--lines", "--quiet", stdin=b"a\n" * 5, code=ExitCode.LIMIT)
    assert "[TOPIC_FULL]" in err


def test_lines_are_published_as_they_come_until_ctrl_c(topic: str) -> None:
    command = [sys.executable, "-m", "sira_grpc", "bus", "pub", topic, "--lines"]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, stderr=pipe, text=True, bufsize=1) as publishing:
        assert publishing.stdin is not None
        assert publishing.stdout is not None
        for text in ("one", "two"):
            publishing.stdin.write(f"{text}\n")
            assert publishing.stdout.readline().startswith(topic)
        publishing.send_signal(signal.SIGINT)
        assert publishing.wait(timeout=DEADLINE) == ExitCode.INTERRUPTED
    assert texts(stream("sub", topic, "--max", "2")) == ["one", "two"]


def test_looking_does_not_count(topic: str) -> None:
    bus("pub", topic, "--lines", stdin=b"a\nb\nc\n")
    for _ in range(3):  # more often than the subscription delivers
        out, err = run("sub", topic, "--no-ack", "--max", "3", "-o", "json")
        assert [json.loads(line)["attempt"] for line in out.splitlines()] == [1, 1, 1]
        assert err == "3 records, 0 acknowledged\n"
    assert texts(stream("sub", topic, "--max", "3")) == ["a", "b", "c"]


def test_a_command_is_run_for_each_record(topic: str, tmp_path: Path) -> None:
    bus("pub", topic, "good", "--key", "g", "--header", "a=b")
    bus("pub", topic, "bad", "--key", "b")
    log = tmp_path / "log"
    command = (
        f'(cat; echo " $SIRA_RECORD_KEY $SIRA_RECORD_ATTEMPT $SIRA_RECORD_HEADERS") >> {log}; test $SIRA_RECORD_KEY = g'
    )
    out, err = run("sub", topic, "--exec", command, "--max", "3")
    assert out == ""
    assert err.count("exit code 1; it is delivered again") == 2
    assert err.endswith("3 records, 1 acknowledged\n")
    assert sorted(log.read_text().splitlines()) == ["bad b 1 {}", "bad b 2 {}", 'good g 1 {"a": "b"}']
    (letter,) = data("dlq", topic)
    assert (letter["reason"], letter["detail"]) == ("DEAD_LETTER_REASON_MAX_DELIVERIES", "exit code 1")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_consumer_leaves_in_good_order(topic: str, number: signal.Signals) -> None:
    bus("pub", topic, "first", "--key", "k")
    with SiraProcess("bus", "sub", topic, "-o", "json") as consuming:
        assert consuming.json()["text"] == "first"
        bus("pub", topic, "second", "--key", "k")
        assert consuming.json()["text"] == "second"
        assert (consuming.interrupt() if number is signal.SIGINT else consuming.terminate()) == ExitCode.OK
        consuming.chatter("2 records, 2 acknowledged")
    assert data("subs", "show", topic)["status"]["lag"] == "0"


def test_a_command_that_is_interrupted_gives_its_record_back(topic: str, tmp_path: Path) -> None:
    bus("pub", topic, "x")
    os.mkfifo(tmp_path / "begun")
    with SiraProcess("bus", "sub", topic, "--exec", f"echo > {tmp_path}/begun; sleep 600; true") as consuming:
        (tmp_path / "begun").read_text()
        assert consuming.terminate() == ExitCode.OK
        consuming.chatter("0 records, 0 acknowledged")
    assert [each["attempt"] for each in stream("sub", topic, "--max", "1")] == [1]


def test_a_paused_subscription_is_told(topic: str) -> None:
    bus("subs", "pause", topic)
    with SiraProcess("bus", "sub", topic) as consuming:
        consuming.chatter("is paused")
        assert consuming.interrupt() == ExitCode.OK
    assert "[SUBSCRIPTION_NOT_FOUND]" in refusal("sub", "nothing", code=ExitCode.NOT_FOUND)


def test_a_consumer_is_told_that_its_subscription_is_gone(topic: str) -> None:
    bus("pub", topic, "x")
    with SiraProcess("bus", "sub", topic, "-o", "json") as consuming:
        assert consuming.json()["text"] == "x"
        bus("subs", "delete", topic, "--force")
        assert consuming.wait() == ExitCode.NOT_FOUND
        consuming.chatter("[SUBSCRIPTION_NOT_FOUND]")


def test_completion_offers_the_commands_although_list_may_be_left_out() -> None:
    environment = {"_SIRA_COMPLETE": "complete_bash", "COMP_WORDS": "sira bus topics sh", "COMP_CWORD": "3"}
    with SiraProcess(environment=environment) as completing:
        assert completing.line() == "show"


def test_a_tail_begins_where_it_is_told_to(topic: str) -> None:
    (told, *_) = stream("pub", topic, "--lines", "--key", "k", stdin=b"a\nb\nc\n")
    everything = stream("tail", topic, "--from", "earliest", "--max", "3")
    assert [each["text"] for each in everything] == ["a", "b", "c"]
    assert [each["attempt"] for each in everything] == [0, 0, 0]
    for position in (f"{told['partition']}@1", f"{topic}/{told['partition']}@1"):
        assert [each["text"] for each in stream("tail", topic, "--from", position, "--max", "2")] == ["b", "c"]
    assert f"{topic}/{told['partition']}@0" in bus("tail", topic, "--from", "-1h", "--max", "1")
    assert data("subs", "show", topic)["status"]["lag"] == "3"


def test_a_tail_goes_on_until_it_is_interrupted(topic: str) -> None:
    with SiraProcess("bus", "tail", f"{topic}.>", "--from", "earliest", "-o", "json") as tailing:
        tailing.chatter("there is no topic")
        bus("topics", "create", f"{topic}.new")
        bus("pub", f"{topic}.new", "x")
        assert tailing.json()["topic"] == f"{topic}.new"
        assert tailing.interrupt() == ExitCode.OK
        tailing.chatter("stopped")


def test_lag_is_shown_and_watched(topic: str) -> None:
    with SiraProcess("bus", "lag", topic, "--watch", "--every", "50ms", "-o", "json") as watching:
        assert watching.json()["status"]["lag"] == "0"
        bus("pub", topic, "x")
        assert watching.json()["status"]["lag"] == "1"
        assert watching.interrupt() == ExitCode.OK
        watching.chatter("stopped")
    assert f"namespaces/default/subscriptions/{topic}" in [each["name"] for each in data("lag")]
    assert f"default/{topic}" in bus("lag", topic)


def test_a_benchmark_leaves_nothing_behind(topic: str) -> None:
    result = data("bench", "--records", "5000", "--batch", "100", "--producers", "2", "--consumers", "2")
    assert (result["records"], result["durability"]) == (5000, "DURABILITY_DISK")
    assert result["publish"]["recordsPerSecond"] > 0
    assert result["endToEnd"]["deliveryMilliseconds"]["p99"] > 0
    assert "records/s" in bus("bench", "--records", "100", "--batch", "1", "--memory", "--topic", f"{topic}.bench")
    assert "[ALREADY_EXISTS]" in refusal("bench", "--topic", topic, code=ExitCode.CONFLICT)
    assert not [each for each in data("topics") if "bench" in each["name"]]
    assert not [each for each in data("subs") if "bench" in each["name"]]
