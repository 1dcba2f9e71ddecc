from __future__ import annotations

import os
import random
import resource
import signal
import stat
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from sira_grpc.svid.identity_directory import IdentityFiles, open_to_others, read, write

# Writes one generation after the other, each of them made of one number only, and says so after each.
WRITER = """
import itertools, sys
from pathlib import Path
from sira_grpc.svid.identity_directory import IdentityFiles, write
for number in itertools.count(int(sys.argv[2])):
    text = b"%d" % number
    write(Path(sys.argv[1]), IdentityFiles(text, text, text, text, {"b.test": text}))
    print(number, flush=True)
"""


def files(number: int) -> IdentityFiles:
    """Files that fit together, because they say the same."""
    text = b"%d" % number
    return IdentityFiles(text, text, text, text, {"b.test": text})


def number_of(found: IdentityFiles) -> int:
    """What files that fit together say."""
    texts = {found.svid, found.key, found.bundle, found.crl, *found.federated.values()}
    assert len(texts) == 1, texts
    assert set(found.federated) == {"b.test"}
    return int(texts.pop())


def generations(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir() if path.name.startswith(".generation-"))


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@contextmanager
def umask(mask: int) -> Iterator[None]:
    old = os.umask(mask)
    try:
        yield
    finally:
        os.umask(old)


@contextmanager
def no_files_above(size: int) -> Iterator[None]:
    """A disk, as far as this process is concerned, that is full once a file has this many bytes."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    directory = tmp_path / "new" / "identity"
    written = IdentityFiles(b"svid", b"key", b"bundle", b"crl", {"b.test": b"b", "c.test": b"c"})
    write(directory, written)
    assert read(directory) == written
    for name in ("svid", "key", "bundle", "crl"):
        assert (directory / f"{name}.pem").read_bytes() == name.encode()
    assert (directory / "federated" / "b.test.pem").read_bytes() == b"b"


def test_what_is_optional(tmp_path: Path) -> None:
    write(tmp_path, files(1))
    write(tmp_path, IdentityFiles(b"svid", b"key", b"bundle"))
    assert read(tmp_path) == IdentityFiles(b"svid", b"key", b"bundle")
    assert not (tmp_path / "crl.pem").exists()
    assert list((tmp_path / "federated").iterdir()) == []


def test_files_that_somebody_else_put_there(tmp_path: Path) -> None:
    for name in ("svid", "key", "bundle"):
        (tmp_path / f"{name}.pem").write_bytes(name.encode())
    assert read(tmp_path) == IdentityFiles(b"svid", b"key", b"bundle")
    write(tmp_path, files(1))
    assert number_of(read(tmp_path)) == 1
    assert (tmp_path / "key.pem").read_bytes() == b"1"


@pytest.mark.parametrize("name", ["svid", "key", "bundle"])
def test_a_file_that_is_missing_is_named(tmp_path: Path, name: str) -> None:
    for other in {"svid", "key", "bundle"} - {name}:
        (tmp_path / f"{other}.pem").touch()
    with pytest.raises(FileNotFoundError, match=rf"{name}\.pem"):
        read(tmp_path)


def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read(tmp_path / "none")


def test_a_key_is_not_shown() -> None:
    assert "hidden" not in repr(IdentityFiles(b"svid", b"hidden", b"bundle"))


@pytest.mark.parametrize("name", ["../evil", "B.test", "", "a/b"])
def test_a_name_that_is_no_trust_domain(tmp_path: Path, name: str) -> None:
    write(tmp_path, files(1))
    with pytest.raises(ValueError, match="is no trust domain"):
        write(tmp_path, IdentityFiles(b"2", b"2", b"2", federated={name: b"2"}))
    assert number_of(read(tmp_path)) == 1


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_only_the_owner_may_read_the_key(tmp_path: Path, mask: int) -> None:
    directory = tmp_path / "identity"
    with umask(mask):
        write(directory, files(1))
    assert mode(directory) == 0o700
    assert mode(directory / ".current") == 0o700
    assert mode(directory / "key.pem") == 0o600
    assert mode(directory / "svid.pem") == mode(directory / "bundle.pem") == mode(directory / "crl.pem") == 0o644
    assert mode(directory / "federated") == 0o755
    assert not open_to_others(directory / "key.pem")


@pytest.mark.parametrize("mask", [0o000, 0o022, 0o077])
def test_the_group_may_read_if_it_is_asked_for(tmp_path: Path, mask: int) -> None:
    directory = tmp_path / "identity"
    with umask(mask):
        write(directory, files(1), group_readable=True)
    assert mode(directory) == mode(directory / ".current") == 0o750
    assert mode(directory / "key.pem") == 0o640
    assert mode(directory / "federated") == 0o755
    assert not open_to_others(directory / "key.pem")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a directory to a group that it is not in")
def test_the_group_is_that_of_the_directory(tmp_path: Path) -> None:
    os.chown(tmp_path, -1, 4242)
    write(tmp_path, files(1), group_readable=True)
    assert (tmp_path / "key.pem").stat().st_gid == (tmp_path / ".current").stat().st_gid == 4242
    write(tmp_path, files(2))
    assert mode(tmp_path / "key.pem") == 0o600


def test_the_mode_of_a_directory_that_is_there_stays(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    write(tmp_path, files(1))
    assert mode(tmp_path) == 0o755
    assert mode(tmp_path / ".current") == 0o700


@pytest.mark.parametrize(
    ("bits", "open_"), [(0o600, False), (0o640, False), (0o644, True), (0o620, True), (0o602, True)]
)
def test_whether_a_file_is_open_to_others(tmp_path: Path, bits: int, open_: bool) -> None:
    path = tmp_path / "key.pem"
    path.touch()
    path.chmod(bits)
    assert open_to_others(path) is open_
    with pytest.raises(FileNotFoundError):
        open_to_others(tmp_path / "none")


def test_one_generation_is_kept_besides_the_current_one(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path, files(number))
    assert len(generations(tmp_path)) == 2
    kept = {(tmp_path / name / "svid.pem").read_bytes() for name in generations(tmp_path)}
    assert kept == {b"3", b"4"}


def test_leftovers_are_cleaned(tmp_path: Path) -> None:
    write(tmp_path, files(1))
    for name in (".generation-7", ".generation-strange"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "key.pem").write_bytes(b"old key")
    (tmp_path / ".current.draft").symlink_to(".generation-7")
    (tmp_path / "svid.pem.draft").symlink_to("nowhere")
    write(tmp_path, files(2))
    assert number_of(read(tmp_path)) == 2
    assert generations(tmp_path) == [".generation-1", ".generation-8"]
    assert not (tmp_path / ".current.draft").is_symlink()


def test_a_full_disk_changes_nothing(tmp_path: Path) -> None:
    write(tmp_path, files(1))
    before = generations(tmp_path)
    for content in (b"x" * 5000, b"2"):
        with no_files_above(1000), pytest.raises(OSError, match="File too large"):
            write(tmp_path, IdentityFiles(b"2", content, b"2", b"2", {"b.test": b"x" * 5000}))
        assert number_of(read(tmp_path)) == 1
        assert generations(tmp_path) == before
    write(tmp_path, files(2))
    assert number_of(read(tmp_path)) == 2


def test_a_place_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "identity"):
        with pytest.raises(OSError, match="file"):
            write(path, files(1))


def test_a_reader_never_sees_what_does_not_fit(tmp_path: Path) -> None:
    write(tmp_path, files(0))
    over, started = threading.Event(), threading.Event()

    def follow() -> list[int]:
        seen = []
        while not over.is_set():
            seen.append(number_of(read(tmp_path)))
            started.set()
        return seen

    with ThreadPoolExecutor(2) as pool:
        readers = [pool.submit(follow) for _ in range(2)]
        try:
            assert started.wait(30)
            for number in range(1, 201):
                write(tmp_path, files(number))
        finally:
            over.set()
        for reader in readers:
            seen = reader.result()
            assert seen == sorted(seen)
            assert len(set(seen)) > 1
    assert number_of(read(tmp_path)) == 200


@pytest.mark.parametrize("name", ["svid", "bundle"])
def test_a_reader_that_is_overtaken_twice_reads_again(tmp_path: Path, name: str) -> None:
    """The generation that it reads is gone before it is through, and with it what it would take for optional."""
    write(tmp_path, files(1))
    slow = tmp_path / ".current" / f"{name}.pem"
    slow.unlink()
    os.mkfifo(slow)
    with ThreadPoolExecutor(1) as pool:
        reader = pool.submit(read, tmp_path)
        with slow.open("wb") as pipe:  # waits for the reader
            pipe.write(b"1")
            write(tmp_path, files(2))
            write(tmp_path, files(3))
        assert number_of(reader.result()) == 3


def test_writers_take_turns(tmp_path: Path) -> None:
    def rewrite(first: int) -> None:
        for number in range(first, first + 25):
            write(tmp_path, files(number))
            number_of(read(tmp_path))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(rewrite, range(0, 400, 100)))
    assert number_of(read(tmp_path)) % 100 == 24
    assert len(generations(tmp_path)) == 2


def test_a_writer_that_is_killed(tmp_path: Path) -> None:
    """At whatever moment it dies, the directory can be read, fits, and can be written again."""
    moments = random.Random(5)
    last = -1
    for _ in range(30):
        with subprocess.Popen(
            [sys.executable, "-c", WRITER, str(tmp_path), str(last + 1)], stdout=subprocess.PIPE, text=True
        ) as writer:
            assert writer.stdout is not None
            assert int(writer.stdout.readline()) == last + 1
            with suppress(subprocess.TimeoutExpired):
                writer.wait(moments.uniform(0, 0.02))
            writer.send_signal(signal.SIGKILL)
            told = [last + 1, *map(int, writer.stdout.read().split())]
        assert writer.returncode == -signal.SIGKILL
        # What was told has been written; the next one may have been.
        last = number_of(read(tmp_path))
        assert last in (told[-1], told[-1] + 1)
        for name in ("svid", "key", "bundle", "crl"):
            assert (tmp_path / f"{name}.pem").read_bytes() == b"%d" % last
    write(tmp_path, files(last + 1))
    assert number_of(read(tmp_path)) == last + 1
    assert len(generations(tmp_path)) == 2


def test_a_writer_that_is_killed_in_the_beginning(tmp_path: Path) -> None:
    """Then there is nothing, or everything."""
    moments = random.Random(6)
    for attempt in range(10):
        directory = tmp_path / str(attempt)
        with subprocess.Popen([sys.executable, "-c", WRITER, str(directory), "0"], stdout=subprocess.PIPE) as writer:
            while not directory.exists() and writer.poll() is None:
                pass
            with suppress(subprocess.TimeoutExpired):
                writer.wait(moments.uniform(0, 0.005))
            writer.send_signal(signal.SIGKILL)
        with suppress(FileNotFoundError):
            number_of(read(directory))
        write(directory, files(7))
        assert number_of(read(directory)) == 7
