"""The data directory of an embedded store: its creation, and the lock that gives it to one process."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from sira_grpc.errors import StoreUnavailable
from sira_grpc.store.sqlite_errors import unavailable


class DataDirectory:
    """A data directory that this process holds until release()."""

    def __init__(self, path: Path, lock: int) -> None:
        self.path = path
        self.database = path / "sira.db"
        self._lock: int | None = lock

    @classmethod
    def acquire(cls, path: Path) -> DataDirectory:
        """Creates the directory if it is missing (mode 0700) and locks it.

        Raises:
            StoreUnavailable: it cannot be created or written, or another process or store holds it.
        """
        path = path.absolute()
        try:
            _create(path)
            lock = os.open(path / "sira.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                _lock(path, lock)
            except BaseException:
                os.close(lock)
                raise
        except OSError as error:
            raise unavailable(path, f"the directory cannot be written ({error.strerror})") from error
        return cls(path, lock)

    def release(self) -> None:
        """Lets go of the directory. Idempotent."""
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None


def _create(path: Path) -> None:
    if path.is_dir():
        return
    path.mkdir(mode=0o700, parents=True, exist_ok=True)
    # The new name must outlive a power cut as surely as what is written below it.
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _lock(path: Path, lock: int) -> None:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        holder = os.pread(lock, 32, 0).decode("ascii", "replace").strip() or "unknown"
        raise StoreUnavailable(
            f"the store at {path} is in use by process {holder}: stop it, or choose another data directory",
            metadata={"path": str(path), "pid": holder},
        ) from error
    os.ftruncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
