"""Identity directories: a certificate, its key and the bundle as PEM files, that change all at once or not at all.

    svid.pem      the certificate and its intermediates
    key.pem       its private key, PKCS #8, not encrypted, readable by its owner only
    bundle.pem    root certificates of its trust domain
    crl.pem       certificate revocation lists of it, where there are any
    federated/    root certificates of other trust domains, `{trust domain}.pem`

Each is a link into the folder that `.current` leads to; a new generation is written beside it, and then `.current` is
turned over by one rename. Who reads several files that must fit reads them through one look at `.current`. Writers
take turns, by a lock on the directory that ends with the process that holds it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from sira_grpc.svid.spiffe_id import check_trust_domain

CURRENT = ".current"
SVID, KEY, BUNDLE, CRL, FEDERATED = "svid.pem", "key.pem", "bundle.pem", "crl.pem", "federated"
_GENERATION = ".generation-"


@dataclass(frozen=True, slots=True)
class IdentityFiles:
    """What an identity directory holds, PEM.

    Attributes:
        svid: the certificate and its intermediates.
        key: its private key.
        bundle: root certificates of its trust domain.
        crl: certificate revocation lists; may be empty.
        federated: root certificates of other trust domains, by their names.
    """

    svid: bytes
    key: bytes = field(repr=False)
    bundle: bytes
    crl: bytes = b""
    federated: Mapping[str, bytes] = field(default_factory=dict)


def write(directory: Path, files: IdentityFiles, *, group_readable: bool = False, owner: int | None = None) -> None:
    """Writes a new generation and makes it the current one, durably. Makes the directory (0700) if it is missing.

    Args:
        directory: where to.
        files: what.
        group_readable: the key may be read by the group of the directory too.
        owner: user who is to own the files, in folders that stay those of this process and that all may look into. None
            for this process's own.

    Raises:
        OSError: it cannot be written, or the files cannot be given away; what was there stays.
        ValueError: a name in `federated` is no trust domain.
    """
    for domain in files.federated:
        check_trust_domain(domain)
    if not directory.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
        _make_folder(directory, 0o750 if group_readable else 0o700, exist_ok=True)
        _sync(directory.parent)
    if owner is not None:
        directory.chmod(0o755)
    with _turn(directory):
        old = _current(directory)
        generation = directory / f"{_GENERATION}{_next_number(directory)}"
        try:
            group = directory.stat().st_gid if group_readable else None
            _write_generation(generation, files, group=group, owner=owner)
            _sync(directory)
            _turn_over(directory / CURRENT, generation.name)
        except OSError:
            shutil.rmtree(generation, ignore_errors=True)
            raise
        for name in (SVID, KEY, BUNDLE, FEDERATED, CRL):
            if not (directory / name).is_symlink():
                _turn_over(directory / name, f"{CURRENT}/{name}")
        _sync(directory)
        for stale in directory.glob(f"{_GENERATION}*"):
            if stale not in (generation, old):  # the one before is kept for those who are reading it right now
                shutil.rmtree(stale, ignore_errors=True)


def read(directory: Path) -> IdentityFiles:
    """Reads files that fit together.

    Raises:
        OSError: one is not there or cannot be read; the error names it.
    """
    while True:
        current = _current(directory)
        try:
            files = _read(current or directory)
        except FileNotFoundError:
            if _current(directory) == current:
                raise
            continue
        if _current(directory) == current:
            return files
        # Somebody wrote, perhaps more than once: then files of the generation may have gone while they were read.


def _read(folder: Path) -> IdentityFiles:
    federated = folder / FEDERATED
    return IdentityFiles(
        svid=(folder / SVID).read_bytes(),
        key=(folder / KEY).read_bytes(),
        bundle=(folder / BUNDLE).read_bytes(),
        crl=(folder / CRL).read_bytes() if (folder / CRL).exists() else b"",
        federated={path.stem: path.read_bytes() for path in sorted(federated.glob("*.pem"))},
    )


def open_to_others(path: Path) -> bool:
    """Whether anybody but its owner and its group may read a file, or anybody but its owner may write it.

    Raises:
        OSError: it is not there.
    """
    return bool(path.stat().st_mode & (stat.S_IROTH | stat.S_IWOTH | stat.S_IWGRP))


def _current(directory: Path) -> Path | None:
    try:
        return directory / os.readlink(directory / CURRENT)
    except OSError:
        return None


@contextmanager
def _turn(directory: Path) -> Iterator[None]:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _write_generation(generation: Path, files: IdentityFiles, *, group: int | None, owner: int | None) -> None:
    _make_folder(generation, 0o700)
    contents = {SVID: files.svid, BUNDLE: files.bundle, **({CRL: files.crl} if files.crl else {})}
    for name, content in contents.items():
        _write_file(generation / name, content, 0o644)
    _write_file(generation / KEY, files.key, 0o600)
    _make_folder(generation / FEDERATED, 0o755)
    for domain, content in files.federated.items():
        _write_file(generation / FEDERATED / f"{domain}.pem", content, 0o644)
    if group is not None:
        for path, mode in ((generation / KEY, 0o640), (generation, 0o750)):
            os.chown(path, -1, group)
            path.chmod(mode)
    if owner is not None:
        for name in (*contents, KEY):
            os.chown(generation / name, owner, -1)
        generation.chmod(0o755)
    _sync(generation / FEDERATED)
    _sync(generation)


def _make_folder(path: Path, mode: int, *, exist_ok: bool = False) -> None:
    path.mkdir(mode=mode, exist_ok=exist_ok)
    path.chmod(mode)  # mkdir takes away what the umask does


def _next_number(directory: Path) -> int:
    """One that no generation has, also not one that was left over when somebody was killed."""
    numbers = (path.name.removeprefix(_GENERATION) for path in directory.glob(f"{_GENERATION}*"))
    return max((int(number) for number in numbers if number.isdecimal()), default=0) + 1


def _write_file(path: Path, content: bytes, mode: int) -> None:
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    with os.fdopen(handle, "wb") as file:
        os.fchmod(handle, mode)
        file.write(content)
        file.flush()
        os.fsync(handle)


def _turn_over(link: Path, target: str) -> None:
    draft = link.with_name(f"{link.name}.draft")
    draft.unlink(missing_ok=True)
    draft.symlink_to(target)
    draft.replace(link)


def _sync(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
