"""`sira lock` and `sira election` against a kernel that runs."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Iterator

import pytest
from sira_client import Client, connect_insecure

from sira_grpc.cli.exits import ExitCode
from tests.integration.sira_process import DEADLINE, SiraProcess, dev

SHOW = "import os; print(os.environ['SIRA_FENCING_TOKEN'], os.environ['SIRA_FENCING'])"
STAY = "import time; print('runs', flush=True); time.sleep(300)"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Where a kernel is."""
    with dev() as kernel:
        yield kernel.json()["addresses"][0]


@pytest.fixture(autouse=True)
def environment(address: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SIRA_ADDR", address)
    monkeypatch.setenv("SIRA_CONFIG", "/nowhere/config.yaml")


def sira(*arguments: str, code: int = 0) -> tuple[str, str]:
    """Runs a command that ends by itself, and returns what it prints and says."""
    ran = subprocess.run(
        [sys.executable, "-m", "sira_grpc", *arguments],
        env=os.environ, capture_output=True, text=True, timeout=DEADLINE, check=False,
    )  # fmt: skip
    assert ran.returncode == code, ran.stderr
    return ran.stdout, ran.stderr


def test_a_command_runs_under_the_lock_and_is_told_its_token() -> None:
    told, _ = sira("lock", "run", "told", "--", sys.executable, "-c", SHOW)
    token, fence = told.split()
    assert fence == f"namespaces/default/locks/told={token}"
    sira("lock", "run", "told", "--", sys.executable, "-c", "exit(7)", code=7)
    sira("lock", "run", "told", "--", "sh", "-c", "kill -9 $$", code=137)
    sira("lock", "run", "told", "--", "/no/such/command", code=ExitCode.ERROR)
    assert json.loads(sira("lock", "list", "-o", "json")[0]) == []


def test_a_lock_that_is_held_is_shown_and_not_to_be_had() -> None:
    with SiraProcess("lock", "run", "busy", "--label", "first", "--", sys.executable, "-c", STAY) as holder:
        assert holder.line() == "runs"
        assert "1 of 1" in sira("lock", "list")[0]
        assert "first" in sira("lock", "get", "busy")[0]
        _, said = sira("lock", "run", "busy", "--wait", "0", "--", "true", code=ExitCode.CONFLICT)
        assert "[LOCK_HELD]" in said
        assert holder.terminate() == ExitCode.INTERRUPTED
    sira("lock", "run", "busy", "--wait", "0", "--", "true")
    assert "[LOCK_NOT_FOUND]" in sira("lock", "get", "busy", code=ExitCode.NOT_FOUND)[1]


def test_a_lost_lock_ends_the_command(address: str) -> None:
    sira("namespaces", "create", "gone")
    with SiraProcess("lock", "run", "x", "-n", "gone", "--", sys.executable, "-c", STAY) as holder:
        assert holder.line() == "runs"
        sira("namespaces", "delete", "gone", "--force")
        assert "lock was lost" in holder.chatter("lost")
        assert holder.wait() == ExitCode.CONFLICT


def test_what_makes_no_sense_is_refused() -> None:
    for arguments in (("--ttl", "x"), ("--ttl", "0.5"), ("--wait", "x"), ("--permits", "2"), ("--capacity", "0")):
        sira("lock", "run", "x", *arguments, "--", "true", code=ExitCode.USAGE)
    sira("lock", "run", "X", "--", "true", code=ExitCode.USAGE)
    sira("lock", "run", "x", code=ExitCode.USAGE)
    sira("lock", "release", "x")


async def test_an_election_is_observed(address: str) -> None:
    with SiraProcess("election", "observe", "primary") as observing:
        assert "nobody leads" in await asyncio.to_thread(observing.line)
        async with _client(address) as client, client.locks().election("primary").campaign(b"here", label="me") as lead:
            assert f"me leads, term {lead.term}, 0 waiting  here" in await asyncio.to_thread(observing.line)
            assert "me leads" in (await asyncio.to_thread(sira, "election", "get", "primary"))[0]
        assert "nobody leads" in await asyncio.to_thread(observing.line)
        assert await asyncio.to_thread(observing.interrupt) == ExitCode.OK


def _client(address: str) -> Client:
    return connect_insecure(address)
