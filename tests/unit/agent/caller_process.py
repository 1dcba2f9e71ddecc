"""A process that connects to a Unix socket, as whoever the test wants, and says so.

Run as a script: `caller_process.py SOCKET UID GID`. It prints a line when it is connected, and ends with its stdin.
"""

from __future__ import annotations

import os
import socket
import sys


def main() -> None:
    path, uid, gid = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    if (uid, gid) != (os.geteuid(), os.getegid()):
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(path)
        print("connected", flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
