"""Who is at the other end of a Unix socket: with real processes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from sira_grpc.agent import attestation
from sira_grpc.agent.attestation import NotAttested, Process, attest, executable, start_time
from tests.unit.agent import caller_process

SCRIPT = caller_process.__file__
PYTHON = os.path.realpath(sys.executable)
ROOT = os.geteuid() == 0


@contextmanager
def called(
    place: Path, *, uid: int = os.geteuid(), gid: int = os.getegid(), program: str = PYTHON
) -> Iterator[tuple[socket.socket, subprocess.Popen[str]]]:
    """A connection from a child process."""
    path = str(place / "socket")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        os.chmod(path, 0o777)
        listener.listen()
        with subprocess.Popen(
            [program, SCRIPT, path, str(uid), str(gid)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONHOME": sys.base_prefix},
        ) as child:
            assert child.stdin is not None
            try:
                connection, _ = listener.accept()
                with connection:
                    yield connection, child
            finally:
                child.stdin.close()
                child.wait()


@pytest.fixture
def copied(place: Path) -> str:
    """Python under another path: another executable that can do the same."""
    path = place / "checkout"
    shutil.copy2(PYTHON, path)
    return str(path)


@pytest.fixture(params=["with a pidfd", "without one"])
def handle(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param == "without one":
        monkeypatch.setattr(attestation, "_pidfd", lambda connection: None)
    return str(request.param)


@pytest.mark.usefixtures("handle")
def test_a_process_is_known_by_user_group_and_executable(place: Path, copied: str) -> None:
    with called(place, program=copied) as (connection, child):
        assert attest(connection) == Process(child.pid, os.geteuid(), os.getegid(), copied)


@pytest.mark.skipif(not ROOT, reason="only root can start a process of another user")
@pytest.mark.usefixtures("handle")
def test_a_process_of_another_user_is_known(place: Path) -> None:
    with called(place, uid=12_345, gid=23_456) as (connection, child):
        assert attest(connection) == Process(child.pid, 12_345, 23_456, PYTHON)


@pytest.mark.usefixtures("handle")
def test_an_executable_that_was_deleted_counts_as_none(place: Path, copied: str) -> None:
    with called(place, program=copied) as (connection, child):
        os.unlink(copied)
        assert attest(connection) == Process(child.pid, os.geteuid(), os.getegid(), "")


@pytest.mark.usefixtures("handle")
def test_an_executable_that_was_replaced_counts_as_none(place: Path, copied: str) -> None:
    with called(place, program=copied) as (connection, child):
        shutil.copy2(PYTHON, f"{copied}.new")
        os.replace(f"{copied}.new", copied)
        assert attest(connection).path == ""
        assert child.poll() is None


@pytest.mark.usefixtures("handle")
def test_a_process_that_has_ended_is_not_attested(place: Path) -> None:
    with called(place) as (connection, child):
        child.kill()
        child.wait()
        with pytest.raises(NotAttested, match="has ended"):
            attest(connection)


def test_a_process_whose_number_is_used_again_is_not_attested(monkeypatch: pytest.MonkeyPatch) -> None:
    marks = iter(["100", "200"])
    monkeypatch.setattr(attestation, "start_time", lambda pid: next(marks))
    with pytest.raises(NotAttested, match="another has its number"):
        attestation._path_while(lambda: attestation.start_time(1), os.getpid())


def test_the_start_time_is_found_behind_any_name(place: Path) -> None:
    odd = place / "a) 1 (b"
    shutil.copy2(PYTHON, odd)
    with called(place, program=str(odd)) as (_, child):
        assert int(start_time(child.pid)) >= int(start_time(os.getpid()))
        assert executable(child.pid) == str(odd)


def test_a_process_outside_the_namespace_has_no_path(monkeypatch: pytest.MonkeyPatch) -> None:
    class Connection:
        def getsockopt(self, level: int, option: int, size: int) -> bytes:
            return attestation._CREDENTIALS.pack(0, 65_534, 65_534)

    assert attest(Connection()) == Process(0, 65_534, 65_534, "")  # type: ignore[arg-type] # a stand-in for a socket


def test_there_is_no_executable_of_a_process_that_is_not_there() -> None:
    with subprocess.Popen([PYTHON, "-c", ""]) as child:
        child.wait()
        assert executable(child.pid) == ""
        with pytest.raises(NotAttested):
            start_time(child.pid)
