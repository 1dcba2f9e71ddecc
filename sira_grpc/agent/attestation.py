"""Who is at the other end of a Unix socket: user, group and executable, from the Linux kernel and not from the process.

The user and group are those that the process had when it connected. The executable is looked up after that, so what it
says is true of the process as it is a moment later. A path tells the programs of one user apart, and no more: whoever
may run a program may make it do what he likes. What keeps users apart is the user.
"""

from __future__ import annotations

import os
import select
import socket
import struct
from collections.abc import Callable
from dataclasses import dataclass

_CREDENTIALS = struct.Struct("iII")
_SO_PEERPIDFD = 77
"""Linux 6.5; Python does not name it."""
_DELETED = " (deleted)"
_STAT_START_TIME = 19
"""Place of the start time in /proc/pid/stat, counted from behind the name, which may hold anything."""


class NotAttested(Exception):
    """The process ended, or another one has its number by now."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process on this machine.

    Attributes:
        pid: its number, as the agent sees it; 0 where it is outside the agent's PID namespace.
        uid, gid: effective user and group at the time it connected.
        path: its executable, with symbolic links followed, as seen from within its own file system. Empty where it is
            not known: the executable was deleted, or replaced, or the agent may not look.
    """

    pid: int
    uid: int
    gid: int
    path: str


def attest(connection: socket.socket) -> Process:
    """Returns the process that connected.

    Args:
        connection: an accepted Unix stream socket.

    Raises:
        NotAttested: the process has ended.
        OSError: the connection is broken.
    """
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, gid = _CREDENTIALS.unpack(raw)
    if pid == 0:
        return Process(pid, uid, gid, "")
    return Process(pid, uid, gid, _path(connection, pid))


def _path(connection: socket.socket, pid: int) -> str:
    """Looks the executable up while the process is known to be the one that connected."""
    pidfd = _pidfd(connection)
    if pidfd is None:
        return _path_while(lambda: start_time(pid), pid)
    try:
        path = executable(pid)
        # As long as it runs, nobody else has its number: so what was read is its own.
        if _ended(pidfd):
            raise NotAttested(f"process {pid} has ended")
        return path
    finally:
        os.close(pidfd)


def _path_while(mark: Callable[[], str], pid: int) -> str:
    """Looks the executable up between two looks at a mark that no two processes with the same number share."""
    before = mark()
    path = executable(pid)
    if mark() != before:
        raise NotAttested(f"process {pid} has ended, and another has its number")
    return path


def executable(pid: int) -> str:
    """Returns the path of a process's executable; empty where it is not known."""
    try:
        path = os.readlink(f"/proc/{pid}/exe")
    except OSError:
        return ""
    if not path.startswith("/") or path.endswith(_DELETED):
        return ""
    return path


def start_time(pid: int) -> str:
    """Returns when a process started, in clock ticks since the machine did.

    Raises:
        NotAttested: there is no such process.
    """
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            stat = file.read()
    except OSError as error:
        raise NotAttested(f"process {pid} has ended") from error
    return stat.rpartition(b")")[2].split()[_STAT_START_TIME].decode()


def _pidfd(connection: socket.socket) -> int | None:
    """A handle on the process; None on a Linux that gives none, or where the process is gone already."""
    try:
        return connection.getsockopt(socket.SOL_SOCKET, _SO_PEERPIDFD)
    except OSError:
        return None


def _ended(pidfd: int) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))
