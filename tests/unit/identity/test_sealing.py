"""Private keys in the store are worth nothing without the key that is not in it."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.errors import ConfigError
from sira_grpc.identity import sealing
from sira_grpc.identity.sealing import KEY_FILE, Sealer
from tests.unit.registry.world import seeded_bytes

RANDOM = seeded_bytes(7)
SEALER = Sealer(bytes(32), RANDOM, "here")
ANOTHER = Sealer(b"\x01" * 32, RANDOM, "there")


@given(st.binary(max_size=300), st.text(max_size=20))
def test_what_was_sealed_opens_again(plain: bytes, purpose: str) -> None:
    sealed = SEALER.seal(plain, purpose)
    assert SEALER.open(sealed, purpose) == plain
    assert SEALER.seal(plain, purpose) != sealed


@given(st.data())
def test_what_was_changed_does_not_open(data: st.DataObject) -> None:
    sealed = bytearray(SEALER.seal(b"a private key", "root"))
    sealed[data.draw(st.integers(0, len(sealed) - 1))] ^= data.draw(st.integers(1, 255))
    with pytest.raises(ConfigError, match=r"here: does not open"):
        SEALER.open(bytes(sealed), "root")


@pytest.mark.parametrize("sealed", [b"", b"x", bytes(12), bytes(27)])
def test_what_is_too_short_does_not_open(sealed: bytes) -> None:
    with pytest.raises(ConfigError, match=r"here: does not open"):
        SEALER.open(sealed, "root")


def test_another_key_or_purpose_does_not_open() -> None:
    sealed = SEALER.seal(b"a private key", "root")
    with pytest.raises(ConfigError, match=r"there: does not open the private keys"):
        ANOTHER.open(sealed, "root")
    with pytest.raises(ConfigError):
        SEALER.open(sealed, "jwt")
    SEALER.check(SEALER.make_check())
    with pytest.raises(ConfigError):
        ANOTHER.check(SEALER.make_check())


def test_the_same_passphrase_and_salt_make_the_same_key() -> None:
    sealed = sealing.from_passphrase("correct horse", b"salt" * 4, RANDOM).seal(b"plain", "p")
    assert sealing.from_passphrase("correct horse", b"salt" * 4, RANDOM).open(sealed, "p") == b"plain"
    for passphrase, salt in (("correct horsf", b"salt" * 4), ("correct horse", b"pepper" * 3)):
        with pytest.raises(ConfigError, match=r"identity\.passphrase: does not open"):
            sealing.from_passphrase(passphrase, salt, RANDOM).open(sealed, "p")


def test_a_short_passphrase_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"identity\.passphrase: must have at least 12 characters"):
        sealing.from_passphrase("x" * 11, b"salt" * 4, RANDOM)


def opened(directory: Path, *, create: bool = True) -> Sealer:
    sealing.prepare(directory)
    return sealing.from_key_file(directory, RANDOM, create=create)


def test_the_key_file_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    directory = tmp_path / "deep" / "identity"
    sealed = opened(directory).seal(b"plain", "p")
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / KEY_FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in directory.iterdir()] == [KEY_FILE]
    for create in (True, False):
        assert opened(directory, create=create).open(sealed, "p") == b"plain"


def test_a_key_file_that_is_missing_is_made_for_an_empty_store_only(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"encryption\.key is not there, and the private keys in the store"):
        opened(tmp_path / "identity", create=False)
    assert not (tmp_path / "identity" / KEY_FILE).exists()


@pytest.mark.parametrize(
    ("content", "rule"),
    [
        (b"", "must hold 32 bytes in hex"),
        (b"00" * 31, "must hold 32 bytes in hex"),
        (b"00" * 33, "must hold 32 bytes in hex"),
        (b"zz" * 32, "must hold 32 bytes in hex"),
        (b"0 " * 64, "must hold 32 bytes in hex"),
        (b"\xff" * 32, "cannot be used: 'ascii' codec"),
    ],
)
@pytest.mark.parametrize("create", [True, False])
def test_a_malformed_key_file_is_refused_and_left(tmp_path: Path, content: bytes, rule: str, *, create: bool) -> None:
    path = tmp_path / "identity" / KEY_FILE
    opened(path.parent)
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=rf"identity\.dir: .*encryption\.key {rule}"):
        opened(path.parent, create=create)
    assert path.read_bytes() == content


@pytest.mark.parametrize("mode", [0o640, 0o620, 0o604, 0o602, 0o601, 0o660, 0o644, 0o666, 0o677])
def test_a_key_file_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "identity" / KEY_FILE
    opened(path.parent)
    path.chmod(mode)
    with pytest.raises(ConfigError, match=rf"encryption\.key is open to others \(mode {mode:o}\): chmod 600 it"):
        opened(path.parent)


@pytest.mark.parametrize("mode", [0o750, 0o705, 0o755, 0o777])
def test_a_folder_that_others_may_use_is_refused(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / "identity"
    opened(directory)
    directory.chmod(mode)
    with pytest.raises(ConfigError, match=rf"identity\.dir: .*identity is open to others \(mode {mode:o}\): chmod 700"):
        sealing.prepare(directory)


@pytest.mark.parametrize("mode", [0o400, 0o600])
def test_an_owner_may_protect_the_key_file_from_itself(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "identity" / KEY_FILE
    opened(path.parent)
    path.chmod(mode)
    opened(path.parent, create=False)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may give a file away")
def test_a_key_file_of_somebody_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "identity" / KEY_FILE
    opened(path.parent)
    os.chown(path, 12_345, -1)
    with pytest.raises(ConfigError, match=r"encryption\.key belongs to another user \(uid 12345\): chown it"):
        opened(path.parent)


def test_a_folder_that_is_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch(mode=0o600)
    for directory in (tmp_path / "file", tmp_path / "file" / "identity"):
        with pytest.raises(ConfigError, match=r"identity\.dir: "):
            opened(directory)


def test_a_draft_of_somebody_who_was_killed_is_in_nobodys_way(tmp_path: Path) -> None:
    directory = tmp_path / "identity"
    sealing.prepare(directory)
    draft = directory / f"{KEY_FILE}.{os.getpid()}"
    draft.touch(mode=0o600)
    draft.write_text("half", encoding="ascii")
    opened(directory)
    assert [path.name for path in directory.iterdir()] == [KEY_FILE]


def test_of_those_who_make_it_at_once_all_get_the_same(tmp_path: Path) -> None:
    directory = tmp_path / "identity"
    sealing.prepare(directory)
    with ThreadPoolExecutor(8) as pool:
        sealers = list(pool.map(lambda _: sealing.from_key_file(directory, os.urandom, create=True), range(32)))
    sealed = sealers[0].seal(b"plain", "p")
    assert {sealer.open(sealed, "p") for sealer in sealers} == {b"plain"}
    assert [path.name for path in directory.iterdir()] == [KEY_FILE]
