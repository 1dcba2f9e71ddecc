"""`sira bus` against a kernel that runs: what is looked at afterwards, dead letters, replays and damage."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from sira_grpc.cli.exits import ExitCode
from tests.integration.bus_commands import bus, data, refusal, run, stream
from tests.integration.sira_process import dev

NUMBERS = count(1)


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where a kernel is."""
    with dev() as kernel:
        yield kernel.json()["addresses"][0]
        assert kernel.interrupt() == ExitCode.OK


@pytest.fixture(autouse=True)
def topic(address: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A topic of two partitions, of each test's own, whose subscription `{topic}` gives up after one delivery."""
    monkeypatch.setenv("SIRA_ADDR", address)
    monkeypatch.setenv("SIRA_CONFIG", "/nowhere/config.yaml")
    name = f"t{next(NUMBERS)}"
    bus("topics", "create", name, "--partitions", "2")
    bus("subs", "create", name, "--topic", name, "--start", "earliest", "--max-deliveries", "1")
    return name


def give_up(topic: str, *payloads: str) -> None:
    """Publishes records whose keys are their payloads, and has them given up one by one."""
    for payload in payloads:
        bus("pub", topic, payload, "--key", payload, "--header", f"p={payload}")
        bus("sub", topic, "--exec", "exit 3", "--max", "1")


def ids(*arguments: str) -> list[str]:
    return [each["name"].rpartition("/")[2] for each in data("dlq", *arguments)]


def test_dead_letters_are_listed_filtered_and_shown(topic: str) -> None:
    give_up(topic, "a", "b")
    assert ids(topic) == ids(topic, "0", "1", "2") == ["0", "1"]
    assert ids(topic, "--key", "b") == ids(topic, "--header", "p=b") == ids("list", topic, "1") == ["1"]
    assert ids(topic, "--reason", "max-deliveries", "--topic", topic, "--after", "-1h", "--before", "+1h") == ["0", "1"]
    for nothing in (["--reason", "terminated"], ["--topic", "other"], ["--before", "-1h"], ["--header", "p=c"]):
        assert ids(topic, *nothing) == []
    letter = data("dlq", "show", topic, "1")
    assert (letter["record"]["payload"], letter["detail"]) == ("Yg==", "exit code 3")
    shown = bus("dlq", "show", topic, "1")
    assert shown.endswith("\n\nb\n")
    assert "HEADERS      p=b" in shown
    assert "max-deliveries" in bus("dlq", topic)
    assert "[DEAD_LETTER_NOT_FOUND]" in refusal("dlq", "show", topic, "7", code=ExitCode.NOT_FOUND)
    assert "[NOT_EMPTY]" in refusal("subs", "delete", topic, code=ExitCode.CONFLICT)


def test_dead_letters_are_purged(topic: str) -> None:
    give_up(topic, "a", "b", "c")
    assert run("dlq", "purge", topic, "--key", "a", "--dry-run") == ("", "1 dead letter would be purged\n")
    assert ids(topic) == ["0", "1", "2"]
    assert run("dlq", "purge", topic, "1", "--yes") == ("", "1 dead letter purged\n")
    assert data("dlq", "purge", topic, "--yes") == {"purged": 2, "more": False}
    assert ids(topic) == []


def test_dead_letters_are_redriven_to_their_subscription(topic: str) -> None:
    give_up(topic, "a", "b")
    assert run("redrive", topic, "--dry-run")[1] == "2 dead letters would be redriven\n"
    assert run("redrive", topic, "--limit", "1")[1] == "1 dead letter redriven\nthere are more\n"
    assert [each["text"] for each in stream("sub", topic, "--max", "1")] == ["a"]
    answer = {"redriven": 1, "guarded": 0, "impossible": 0, "more": False}
    assert data("redrive", topic, "1") == answer
    run("sub", topic, "--exec", "false", "--max", "1")
    assert [each["redrives"] for each in data("dlq", topic)] == [1]
    out, err = run("redrive", topic, "--max-redrives", "1")
    assert out == ""
    assert err == "0 dead letters redriven\n1 left: redriven 1 times already; --max-redrives allows more\n"


def test_dead_letters_are_redriven_to_another_topic(topic: str) -> None:
    give_up(topic, "a")
    bus("topics", "create", f"{topic}.again")
    bus("redrive", topic, "--to", f"{topic}.again")
    assert ids(topic) == []
    assert [each["text"] for each in stream("replay", f"{topic}.again")] == ["a"]
    assert "[TOPIC_NOT_FOUND]" in refusal("redrive", topic, "--to", "nothing", code=ExitCode.NOT_FOUND)


def test_a_replay_ends_with_what_is_there(topic: str) -> None:
    assert run("replay", topic) == ("", "0 records printed\n")
    (told, *_) = stream("pub", topic, "--lines", "--key", "k", stdin=b"a\nb\nc\n")
    bus("pub", topic, "--lines", stdin=b"x\ny\n")
    assert sorted(each["text"] for each in stream("replay", topic)) == ["a", "b", "c", "x", "y"]
    where = str(told["partition"])
    part = stream("replay", topic, "--from", f"{where}@1", "--to", f"{topic}/{where}@2")
    assert [each["text"] for each in part] == ["b"]
    assert len(stream("replay", topic, "--from", "-1h", "--wait", "200ms")) == 5
    assert stream("replay", topic, "--to", "-1h") == []
    assert run("replay", topic, "--from", "+1h", "--wait", "50ms") == ("", "0 records printed\n")


def test_a_replay_publishes_again(topic: str) -> None:
    bus("topics", "create", f"{topic}.copy")
    bus("pub", topic, "a", "--key", "k", "--header", "h=v", "--id", "i", "--content-type", "text/x")
    assert run("replay", topic, "--into", f"{topic}.copy") == ("", f"1 record published to {topic}.copy\n")
    (original,), (copy,) = stream("replay", topic), stream("replay", f"{topic}.copy")
    assert copy["record"] == original["record"]
    bus("topics", "create", f"{topic}.small", "--max-record-bytes", "1")
    assert "at most 1 bytes" in run("replay", topic, "--into", f"{topic}.small", code=ExitCode.ERROR)[1]
    assert "[TOPIC_NOT_FOUND]" in refusal("replay", topic, "--into", "nothing", code=ExitCode.NOT_FOUND)


def test_a_replay_tells_what_nobody_is_given(topic: str) -> None:
    bus("pub", topic, "a", "--key", "k")
    bus("pub", topic, "b", "--key", "k", "--ttl", "1ms")
    out, err = run("replay", topic, "--wait", "200ms")
    assert out.endswith("  a\n")
    assert "@1 and what follows it before 2 did not come: expired" in err


def test_what_is_whole_is_verified(topic: str) -> None:
    bus("pub", topic, "a", "--count", "10", "--key", "k")
    done = [each for each in stream("verify", topic) if each["done"]]
    assert sorted(each["records"] for each in done) == ["0", "10"]
    assert all(each["topic"].endswith(f"/{topic}") for each in done)
    assert all(len(each["head"]) > 0 for each in done if each["records"] == "10")
    assert bus("verify", topic).count(" none ") == 2
    assert f"\n{topic} " in bus("verify", "--all")
    assert "[TOPIC_NOT_FOUND]" in refusal("verify", "nothing", code=ExitCode.NOT_FOUND)


def test_damage_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with dev("--data-dir", str(tmp_path)) as kernel:
        monkeypatch.setenv("SIRA_ADDR", kernel.json()["addresses"][0])
        bus("topics", "create", "orders")
        for payload in ("whole", "broken"):
            bus("pub", "orders", payload)
        assert kernel.interrupt() == ExitCode.OK
    (database,) = tmp_path.rglob("*.db")
    with sqlite3.connect(database) as connection:
        (row,) = [row for row in connection.execute("SELECT id, data FROM log_frame") if b"broken" in row[1]]
        damaged = row[1].replace(b"broken", b"brokeN")
        connection.execute("UPDATE log_frame SET data = ? WHERE id = ?", (damaged, row[0]))
    connection.close()
    with dev("--data-dir", str(tmp_path)) as kernel:
        monkeypatch.setenv("SIRA_ADDR", kernel.json()["addresses"][0])
        out, err = run("verify", "orders", code=ExitCode.ERROR)
        assert "DAMAGE" in out
        assert err.endswith("sira: 1 damage found\n")
