"""Ties a process to the one that starts it: run as a script, this becomes the command that follows, and dies with it.

It imports nothing of the package, so that it takes some 20 ms.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
"""Of prctl(2): the signal that a process gets when the thread that has started it ends. It outlives exec."""


def tether() -> list[str]:
    """Returns what goes before a command so that its process is killed when this one ends, however that ends.

    It has a session of its own besides: Ctrl-C reaches this process alone, which stops the others in order. Where the
    system is not Linux, only that.
    """
    return [sys.executable, "-I", "-S", __file__, str(os.getpid())]


def main() -> None:
    """Becomes a command. The arguments are the process id of the parent, and the command."""
    parent, *command = sys.argv[1:]
    os.setsid()
    if sys.platform == "linux":
        libc = ctypes.CDLL(None, use_errno=True)
        if libc.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0) != 0:
            raise OSError(ctypes.get_errno(), "prctl")
        if os.getppid() != int(parent):  # it ended before it could be told of
            return
    os.execvp(command[0], command)


if __name__ == "__main__":
    main()
