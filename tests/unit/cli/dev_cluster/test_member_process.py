"""A member as a child process: it is waited for, passed on, stopped, and gone when the one that started it is."""

from __future__ import annotations

import asyncio
import os
import select
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest

from sira_grpc.cli.dev_cluster.member_process import READ_BYTES, MemberProcess, describe
from sira_grpc.cli.dev_cluster.tether import tether
from sira_grpc.cli.failures import Failure

PATIENCE = 30_000
"""Milliseconds after which a test gives up."""


def environment(path: Path, **more: str) -> Mapping[str, str]:
    """A member with an embedded store, on free ports."""
    return {
        **os.environ,
        "SIRA_SERVER_ADDRESSES": "127.0.0.1:0",
        "SIRA_SERVER_TOKEN_ADDRESSES": "",
        "SIRA_STORE_DATA_DIR": str(path / "data"),
        "SIRA_IDENTITY_DIR": str(path / "identity"),
        **more,
    }


def wait_until_gone(pid: int) -> None:
    """Returns once a process that is no child of this one has ended."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        poll = select.poll()
        poll.register(handle, select.POLLIN)
        assert poll.poll(PATIENCE), f"process {pid} still runs"
    finally:
        os.close(handle)


async def test_it_serves_and_stops_and_serves_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    member = MemberProcess("m1", [], environment(tmp_path))
    assert member.pid == 0
    await member.start()
    assert member.ready["addresses"][0].startswith("127.0.0.1:")
    assert member.pid > 0
    os.kill(member.pid, signal.SIGKILL)
    assert await member.ended() == -signal.SIGKILL
    assert member.pid == 0
    await member.start()
    await member.stop()
    assert await member.ended() == 0
    await member.stop()
    lines = capfd.readouterr().err.splitlines()
    assert all(line.startswith("m1 | ") for line in lines)
    assert "m1 | stopped" in lines


async def test_one_that_does_not_start_says_why(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    member = MemberProcess("m2", [], environment(tmp_path, SIRA_IDENTITY_TRUST_DOMAIN="NO"))
    with pytest.raises(Failure, match=r"member m2 has ended before it served \(exit code 2\)"):
        await member.start()
    assert "m2 | sira: identity.trust_domain: must be" in capfd.readouterr().err
    assert member.pid == 0


async def test_a_frozen_one_is_stopped_too(tmp_path: Path) -> None:
    member = MemberProcess("m1", [], environment(tmp_path))
    await member.start()
    os.kill(member.pid, signal.SIGSTOP)
    await member.stop()
    assert await member.ended() == 0


async def test_lines_are_passed_on_whole(capfd: pytest.CaptureFixture[str]) -> None:
    member = MemberProcess("m1", [], {})
    text = b"a" * (3 * READ_BYTES) + b"\n\nb\xff\nc"
    stream = asyncio.StreamReader()
    stream.feed_data(text)
    stream.feed_eof()
    await member._pass_on(stream)
    assert capfd.readouterr().err.splitlines() == [f"m1 | {'a' * 3 * READ_BYTES}", "m1 | ", "m1 | b\ufffd", "m1 | c"]


@pytest.mark.skipif(sys.platform != "linux", reason="PR_SET_PDEATHSIG is of Linux")
def test_it_is_gone_when_the_one_that_started_it_was_killed() -> None:
    code = (
        "import subprocess, sys\n"
        "from sira_grpc.cli.dev_cluster.tether import tether\n"
        "child = subprocess.Popen([*tether(), 'sh', '-c', 'echo $$; exec sleep 600'], stdout=subprocess.PIPE)\n"
        "print(child.stdout.readline().decode().strip(), child.pid, flush=True)\n"
        "sys.stdin.read()\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        said, pid = map(int, parent.stdout.readline().split())
        assert said == pid  # it became the command, so who signals it signals that
        assert os.getsid(pid) == pid  # Ctrl-C does not reach it
        parent.kill()
        parent.wait()
    wait_until_gone(pid)


def test_it_does_not_outlive_one_that_ended_before_it_was_tied() -> None:
    command = [*tether()[:-1], str(os.getpid() + 1), "sh", "-c", "echo ran"]  # of another parent, as it turns out
    done = subprocess.run(command, capture_output=True, check=True)
    assert done.stdout == b""


@pytest.mark.parametrize(
    ("code", "words"), [(0, "exit code 0"), (2, "exit code 2"), (-9, "SIGKILL"), (-99, "signal 99")]
)
def test_an_exit_code_in_words(code: int, words: str) -> None:
    assert describe(code) == words
