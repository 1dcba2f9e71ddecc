"""Sealing: private keys are encrypted before they go to the store, with a key that is not in it."""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from sira_grpc.errors import ConfigError

KEY_FILE = "encryption.key"
KEY_BYTES = 32
NONCE_BYTES = 12
SALT_BYTES = 16
MIN_PASSPHRASE = 12
SAME_EVERYWHERE = "every member on this store needs the same"
_SCRYPT = {"length": KEY_BYTES, "n": 2**15, "r": 8, "p": 1}
_CHECK = b"sira identity"


class Sealer:
    """Encrypts and decrypts with AES-256-GCM. What was sealed for one purpose does not open for another.

    Args:
        key: 32 bytes.
        random_bytes: unpredictable.
        source: where the key came from, for the errors.
        remedy: what to do where it is another key than the store was founded with, for the errors.
    """

    def __init__(
        self, key: bytes, random_bytes: Callable[[int], bytes], source: str, remedy: str = SAME_EVERYWHERE
    ) -> None:
        self._cipher = AESGCM(key)
        self._random_bytes = random_bytes
        self._source = source
        self._remedy = remedy

    def seal(self, plain: bytes, purpose: str) -> bytes:
        """Encrypts."""
        nonce = self._random_bytes(NONCE_BYTES)
        return nonce + self._cipher.encrypt(nonce, plain, purpose.encode())

    def open(self, sealed: bytes, purpose: str) -> bytes:
        """Decrypts.

        Raises:
            ConfigError: it was sealed with another key or for another purpose, or was changed since.
        """
        try:
            return self._cipher.decrypt(sealed[:NONCE_BYTES], sealed[NONCE_BYTES:], purpose.encode())
        except (InvalidTag, ValueError) as error:
            raise ConfigError(
                f"{self._source}: does not open the private keys in the store: it is another one than they were "
                f"encrypted with, or they are damaged; {self._remedy}"
            ) from error

    def make_check(self) -> bytes:
        """Returns what proves later that the key is the same."""
        return self.seal(_CHECK, "check")

    def check(self, proof: bytes) -> None:
        """Makes sure that the key is the one that a proof was made with.

        Raises:
            ConfigError: it is another one.
        """
        self.open(proof, "check")


def from_passphrase(passphrase: str, salt: bytes, random_bytes: Callable[[int], bytes]) -> Sealer:
    """Returns the sealer of a passphrase: its key is derived with scrypt (RFC 7914), which takes some 100 ms.

    Raises:
        ConfigError: it is too short.
    """
    if len(passphrase) < MIN_PASSPHRASE:
        raise ConfigError(f"identity.passphrase: must have at least {MIN_PASSPHRASE} characters")
    key = Scrypt(salt=salt, **_SCRYPT).derive(passphrase.encode())
    return Sealer(key, random_bytes, "identity.passphrase")


def from_key_file(directory: Path, random_bytes: Callable[[int], bytes], *, create: bool) -> Sealer:
    """Returns the sealer of the key file in a directory.

    Args:
        directory: where it is; see prepare().
        random_bytes: unpredictable.
        create: make the file if it is missing; otherwise that is an error, as what it sealed cannot be opened.

    Raises:
        ConfigError: it is missing, malformed, or can be read by others.
    """
    path = directory / KEY_FILE
    try:
        if create:
            _create(path, random_bytes)
        check_private(path)
        text = path.read_text(encoding="ascii").strip()
    except FileNotFoundError as error:
        raise ConfigError(
            f"identity.dir: {path} is not there, and the private keys in the store are encrypted with it; "
            "put it back, or name the folder that it is in: every member on this store needs a copy of the file"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"identity.dir: {path} cannot be used: {error}") from error
    if not re.fullmatch(f"[0-9a-fA-F]{{{2 * KEY_BYTES}}}", text):
        raise ConfigError(f"identity.dir: {path} must hold {KEY_BYTES} bytes in hex")
    remedy = f"every member on this store needs a copy of the {KEY_FILE} of the one that founded the trust domain"
    return Sealer(bytes.fromhex(text), random_bytes, f"identity.dir: {path}", remedy)


def prepare(directory: Path) -> None:
    """Makes a directory, with mode 0700, if it is missing.

    Raises:
        ConfigError: it cannot be made, or others may read or write it.
    """
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_private(directory)
    except OSError as error:
        raise ConfigError(f"identity.dir: {directory} cannot be used: {error}") from error


def check_private(path: Path, key: str = "identity.dir") -> None:
    """Makes sure that nobody but its owner may read or write a file or folder, and that the owner is this user.

    Args:
        path: of it.
        key: of the configuration that names it, for the errors.

    Raises:
        ConfigError: others may.
        FileNotFoundError: it is not there.
    """
    status = path.stat()
    if status.st_mode & 0o077:
        mode = "700" if path.is_dir() else "600"
        raise ConfigError(f"{key}: {path} is open to others (mode {status.st_mode & 0o777:o}): chmod {mode} it")
    if status.st_uid not in (os.geteuid(), 0):
        raise ConfigError(f"{key}: {path} belongs to another user (uid {status.st_uid}): chown it")


def _create(path: Path, random_bytes: Callable[[int], bytes]) -> None:
    """Writes a new key if there is none, so that it is there whole or not at all, and outlives a power cut."""
    with _turn(path.parent):
        if path.exists():
            return
        for left in path.parent.glob(f"{path.name}.*"):  # by a start that was killed: nothing was encrypted with it
            left.unlink(missing_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        handle = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "w", encoding="ascii") as file:
            file.write(random_bytes(KEY_BYTES).hex() + "\n")
            file.flush()
            os.fsync(handle)
        draft.rename(path)
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


@contextmanager
def _turn(directory: Path) -> Iterator[None]:
    """Has members that share a directory take turns, by a lock on it that ends with the process that holds it.

    Two that start at once on an empty store must not each make a key: the one that founds would have encrypted with
    what the other has replaced.
    """
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
