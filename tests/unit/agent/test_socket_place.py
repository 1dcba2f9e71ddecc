"""The paths of the agent's sockets: who holds them, and what is left behind."""

from __future__ import annotations

import os
import socket
import stat
from pathlib import Path

import pytest

from sira_grpc.agent.socket_place import SocketPlace
from sira_grpc.errors import ConfigError


def test_everybody_may_connect_to_the_one_and_nobody_to_the_other(place: Path) -> None:
    held = SocketPlace(place / "run" / "agent.sock")
    held.claim()
    with held.listen():
        assert stat.S_IMODE(held.path.stat().st_mode) == 0o777
        assert stat.S_IMODE(held.path.parent.stat().st_mode) == 0o755
        assert stat.S_IMODE(held.private.parent.stat().st_mode) == 0o700
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(held.path))
    held.close()
    held.close()
    assert list(held.path.parent.iterdir()) == []


def test_a_second_agent_is_refused_and_disturbs_nothing(place: Path) -> None:
    held, second = SocketPlace(place / "s"), SocketPlace(place / "s")
    held.claim()
    with held.listen():
        with pytest.raises(ConfigError, match="in use by another agent"):
            second.claim()
        second.close()
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(held.path))
    held.close()


def test_another_program_that_answers_is_not_replaced(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(place / "s"))
        other.listen()
        with pytest.raises(ConfigError, match=r"socket: .* is taken"):
            SocketPlace(place / "s").claim()
        assert (place / "s").exists()


def test_what_an_agent_that_was_killed_left_is_replaced(place: Path) -> None:
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(place / "s"))
        dead.listen()
    (place / "s.private").mkdir(mode=0o700)
    (place / "s.private" / "api.sock").touch()
    held = SocketPlace(place / "s")
    held.claim()
    assert not held.private.exists()
    with held.listen(), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(held.path))
    held.close()


def test_a_socket_that_somebody_else_put_there_meanwhile_is_left(place: Path) -> None:
    held = SocketPlace(place / "s")
    held.claim()
    with held.listen():
        held.path.unlink()
        with socket.socket(socket.AF_UNIX) as other:
            other.bind(str(held.path))
            held.close()
            assert held.path.exists()


def test_a_file_is_not_replaced(place: Path) -> None:
    (place / "s").write_text("precious")
    held = SocketPlace(place / "s")
    held.claim()
    with pytest.raises(ConfigError, match="no socket"):
        held.listen()
    held.close()
    assert (place / "s").read_text() == "precious"


def test_a_folder_that_others_may_write_to_is_refused(place: Path) -> None:
    (place / "open").mkdir()
    (place / "open").chmod(0o777)
    with pytest.raises(ConfigError, match="written to by everybody"):
        SocketPlace(place / "open" / "s").claim()


@pytest.mark.parametrize("mode", [0o755, 0o711])
def test_a_private_folder_that_is_open_is_refused(place: Path, mode: int) -> None:
    (place / "s.private").mkdir(mode=mode)
    with pytest.raises(ConfigError, match="mode 0700"):
        SocketPlace(place / "s").claim()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders to others")
def test_a_private_folder_of_somebody_else_is_refused(place: Path) -> None:
    (place / "s.private").mkdir(mode=0o700)
    os.chown(place / "s.private", 12_345, -1)
    with pytest.raises(ConfigError, match="agent's user"):
        SocketPlace(place / "s").claim()


def test_a_private_folder_that_is_a_link_is_refused(place: Path) -> None:
    (place / "elsewhere").mkdir(mode=0o700)
    (place / "s.private").symlink_to(place / "elsewhere")
    with pytest.raises(ConfigError, match="cannot be used"):
        SocketPlace(place / "s").claim()
