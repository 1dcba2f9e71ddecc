"""Whoever may read the folder beside the kernel is an operator, for as long as the kernel runs."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from sira_grpc.errors import ConfigError
from sira_grpc.identity import local_operator
from sira_grpc.svid import identity_directory, x509_svid
from tests.unit.identity.world import DOMAIN, PUBLISHING, World

OPERATOR = f"spiffe://{DOMAIN}/operator/local"


def read(world: World) -> identity_directory.IdentityFiles:
    return identity_directory.read(world.identity.operator.directory)


def serial(world: World) -> str:
    return x509_svid.serial_of(x509_svid.read_pem(read(world).svid)[0])


async def written(world: World, before: identity_directory.IdentityFiles) -> identity_directory.IdentityFiles:
    """Waits until the folder holds something else."""
    async with asyncio.timeout(20):
        while read(world) == before:
            await asyncio.to_thread(lambda: None)
    return read(world)


async def test_the_folder_holds_an_operators_identity(world: World) -> None:
    files = read(world)
    leaf, *chain = x509_svid.read_pem(files.svid)
    roots = {DOMAIN: x509_svid.read_pem(files.bundle)}
    svid = x509_svid.verify(leaf, chain, roots, now=world.clock.time_ns() / 1e9)
    assert str(svid.identity) == OPERATOR
    assert svid.identity.kind == "operator"
    key = serialization.load_pem_private_key(files.key, None)
    assert key.public_key() == leaf.public_key()
    caller = world.identity.callers.by_certificate(*split(files.svid))
    assert (await world.issue(caller=caller)).record.requester == OPERATOR


def split(pem: bytes) -> tuple[bytes, bytes]:
    leaf, *chain = x509_svid.read_pem(pem)
    return x509_svid.to_pem([leaf]), x509_svid.to_pem(chain)


async def test_nobody_else_may_read_it(world: World) -> None:
    directory = world.identity.operator.directory
    assert directory.stat().st_mode & 0o777 == 0o700
    assert (directory / "key.pem").stat().st_mode & 0o777 == 0o600


async def test_it_follows_the_bundle_and_the_authority(world: World) -> None:
    before = read(world)
    await world.identity.rotator.start()
    both = await written(world, before)
    assert both.svid == before.svid
    assert len(x509_svid.read_pem(both.bundle)) == 2
    await world.identity.rotator.advance(PUBLISHING)
    renewed = await written(world, both)
    assert world.record(x509_svid.serial_of(x509_svid.read_pem(renewed.svid)[0])).authority == world.issuing


async def test_each_start_writes_a_new_one(world: World) -> None:
    before = serial(world)
    await world.restart()
    assert world.record(before).superseded_by == serial(world)


async def test_a_revoked_one_is_replaced_at_once(world: World) -> None:
    before = read(world)
    await world.identity.records.revoke_serial(serial(world), cause="", actor="")
    await written(world, before)
    assert not world.record(serial(world)).HasField("revoke_time")


async def test_a_folder_that_cannot_be_written_is_told_at_the_start(world: World) -> None:
    directory = world.identity.operator.directory
    await world.stop()
    shutil.rmtree(directory)
    directory.write_text("in the way", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"identity\.dir: .*operator cannot be written: "):
        await world.start()
    directory.unlink()
    await world.start()


async def test_a_bundle_that_cannot_be_written_is_tried_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_operator, "RETRY_SECONDS", 0.01)
    failures, write = [OSError(28, "No space left on device")] * 2, identity_directory.write

    def failing(directory: Path, files: identity_directory.IdentityFiles) -> None:
        if failures:
            raise failures.pop()
        write(directory, files)

    monkeypatch.setattr(identity_directory, "write", failing)
    before = read(world)
    await world.identity.rotator.start()
    assert len(x509_svid.read_pem((await written(world, before)).bundle)) == 2
    assert not world.identity.failed.is_set()
