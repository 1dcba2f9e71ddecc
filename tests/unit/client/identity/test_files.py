from __future__ import annotations

import asyncio
import shutil
import ssl
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import serialization
from sira_client import Identity, IdentityFiles, Settings
from sira_client.identity import files

from tests.unit.client.identity.given import QuickClock
from tests.unit.client.identity.said import Said
from tests.unit.client.identity.trust import CALLER, Root, to_der, write_plain

SETTINGS = Settings(first_backoff=0.005, longest_backoff=0.05, clock=QuickClock())


def write_generation(directory: Path, number: int, identity: Identity) -> None:
    """Writes a generation, and turns `.current` over to it."""
    write_plain(directory / f".generation-{number}", identity)
    draft = directory / ".draft"
    draft.symlink_to(f".generation-{number}")
    draft.replace(directory / ".current")


async def test_plain_files_are_read(tmp_path: Path, root: Root, next_root: Root) -> None:
    identity = root.identity(federated={"other.org": next_root.pem})
    write_plain(tmp_path, identity)
    async with IdentityFiles(tmp_path) as source:
        assert source.current == identity
        assert source.current.spiffe_id == CALLER


async def test_a_generation_is_read_as_one_and_the_next_one_too(tmp_path: Path, root: Root) -> None:
    first, second = root.identity(), root.identity()
    write_generation(tmp_path, 1, first)
    async with IdentityFiles(str(tmp_path), settings=SETTINGS) as source:
        assert source.current == first
        write_generation(tmp_path, 2, second)
        shutil.rmtree(tmp_path / ".generation-1")
        assert await source.changed(first) == second


async def test_plain_files_count_once_key_and_certificate_fit(tmp_path: Path, root: Root, said: Said) -> None:
    first, second = root.identity(), root.identity()
    write_plain(tmp_path, first)
    async with IdentityFiles(tmp_path, settings=SETTINGS) as source:
        changed = asyncio.create_task(source.changed(first))
        (tmp_path / "svid.pem").write_bytes(second.svid)
        await said.until("must be the private key of svid.pem: KEY_VALUES_MISMATCH")
        assert source.current == first
        (tmp_path / "key.pem").write_bytes(second.key)
        assert (await changed).key == second.key


async def test_a_change_of_the_bundle_alone_counts(tmp_path: Path, root: Root, next_root: Root) -> None:
    first = root.identity()
    write_plain(tmp_path, first)
    async with IdentityFiles(tmp_path, settings=SETTINGS) as source:
        (tmp_path / "bundle.pem").write_bytes(root.pem + next_root.pem)
        assert (await source.changed(first)).bundle == root.pem + next_root.pem
        (tmp_path / "federated" / "other.org.pem").write_bytes(next_root.pem)
        while not source.current.federated:
            await source.changed(source.current)
        assert source.current.federated == {"other.org": next_root.pem}


async def test_files_that_change_while_they_are_read_are_read_again(
    tmp_path: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = root.identity(), root.identity()
    write_generation(tmp_path, 1, first)
    read = files._read

    def turned_over(folder: Path) -> Identity:
        monkeypatch.setattr(files, "_read", read)
        write_generation(tmp_path, 2, second)
        shutil.rmtree(tmp_path / ".generation-1")
        return read(folder)

    monkeypatch.setattr(files, "_read", turned_over)
    async with IdentityFiles(tmp_path) as source:
        assert source.current == second


async def test_files_that_never_stay_as_they_are_are_given_up(
    tmp_path: Path, root: Root, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_plain(tmp_path, root.identity())
    read = files._read

    def restless(folder: Path) -> Identity:
        with (folder / "bundle.pem").open("ab") as bundle:
            bundle.write(b"\n")
        return read(folder)

    monkeypatch.setattr(files, "_read", restless)
    with pytest.raises(OSError, match="change faster than they can be read"):
        await IdentityFiles(tmp_path).__aenter__()


def encrypted(key: bytes) -> bytes:
    return serialization.load_pem_private_key(key, None).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.BestAvailableEncryption(b"secret")
    )


def two_in_one(pem: bytes) -> bytes:
    return ssl.DER_cert_to_PEM_cert(to_der(pem)).encode()


JUNK = b"-----BEGIN CERTIFICATE-----\nc3RpbGwgbm9uZQ==\n-----END CERTIFICATE-----\n"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("svid.pem", b"", r"svid\.pem: must hold a PEM certificate"),
        ("svid.pem", JUNK, r"svid\.pem: is no DER"),
        ("svid.pem", b"\xff\xfe", r"svid\.pem: must hold a PEM certificate"),
        ("svid.pem", two_in_one, r"svid\.pem: must hold one certificate in each PEM block"),
        ("key.pem", b"", r"key\.pem: must hold one PEM private key"),
        ("key.pem", encrypted, r"key\.pem: must hold a private key that is not encrypted"),
        ("key.pem", lambda key: key + key, r"key\.pem: must hold one PEM private key"),
        ("bundle.pem", b"", r"bundle\.pem: must hold a PEM certificate"),
        ("federated/other.org.pem", JUNK, r"federated/other\.org\.pem: is no DER"),
    ],
)
async def test_a_malformed_file_is_named(
    tmp_path: Path, root: Root, next_root: Root, name: str, content: Any, complaint: str
) -> None:
    write_plain(tmp_path, root.identity(federated={"other.org": next_root.pem}))
    path = tmp_path / name
    path.write_bytes(content(path.read_bytes()) if callable(content) else content)
    with pytest.raises(ValueError, match=complaint) as caught:
        await IdentityFiles(tmp_path).__aenter__()
    assert "PRIVATE KEY-----" not in str(caught.value)


@pytest.mark.parametrize("name", ["svid.pem", "key.pem", "bundle.pem"])
async def test_a_missing_file_is_named(tmp_path: Path, root: Root, name: str) -> None:
    write_plain(tmp_path, root.identity())
    (tmp_path / name).unlink()
    with pytest.raises(FileNotFoundError, match=name.replace(".", r"\.")):
        await IdentityFiles(tmp_path).__aenter__()


async def test_files_that_are_not_there_yet_are_waited_for(tmp_path: Path, root: Root, said: Said) -> None:
    source = IdentityFiles(tmp_path, timeout=20, settings=SETTINGS)
    entering = asyncio.create_task(source.__aenter__())
    await said.until("svid.pem")
    write_generation(tmp_path, 1, root.identity())
    await entering
    await source.__aexit__(None, None, None)


async def test_a_certificate_without_a_spiffe_id_will_do(tmp_path: Path, root: Root) -> None:
    write_plain(tmp_path, root.identity(names=()))
    async with IdentityFiles(tmp_path) as source:
        assert source.current.spiffe_id == ""
