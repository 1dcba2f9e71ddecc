"""What is kept on disk, whose it is, and what becomes of a write that fails."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sira_grpc.agent import Agent, files, keyed_svid
from sira_grpc.agent.entries import KeptFiles
from sira_grpc.svid import identity_directory, x509_svid
from sira_grpc.svid.identity_directory import IdentityFiles
from sira_grpc.svid.spiffe_id import SpiffeId
from tests.unit.agent.authority_double import AuthorityDouble, bundle_of
from tests.unit.agent.kernel_double import DOMAIN, KernelDouble
from tests.unit.agent.workload import config, joining, written

LEGACY = "ns/default/svc/legacy"
FILES = IdentityFiles(svid=b"svid", key=b"key", bundle=b"bundle", crl=b"crl", federated={"other.test": b"other"})
as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files to others")


def kept(directory: Path, **how: Any) -> KeptFiles:
    return KeptFiles(SpiffeId(DOMAIN, ("node", "x")), (), directory, **how)


def owners(directory: Path) -> dict[str, tuple[int, int, int]]:
    """Owner, group and mode of what a reader meets on his way to the key."""
    generation = directory / os.readlink(directory / identity_directory.CURRENT)
    found = {}
    for path in (directory, generation, directory / "key.pem", directory / "svid.pem"):
        status = path.stat()
        name = path.name if not path.name.startswith(".") else "generation"
        found[name] = (status.st_uid, status.st_gid, stat.S_IMODE(status.st_mode))
    return found


def test_files_are_the_agents_own_unless_it_is_told_otherwise(place: Path) -> None:
    files.write(kept(place / "d"), FILES)
    assert identity_directory.read(place / "d") == FILES
    own = (os.geteuid(), os.getegid())
    assert owners(place / "d") == {
        "d": (*own, 0o700),
        "generation": (*own, 0o700),
        "key.pem": (*own, 0o600),
        "svid.pem": (*own, 0o644),
    }


@as_root
def test_files_are_given_to_a_user_and_the_folders_are_not(place: Path) -> None:
    for _ in range(2):
        files.write(kept(place / "d", uid=12_345), FILES)
        assert owners(place / "d") == {
            "d": (0, 0, 0o755),
            "generation": (0, 0, 0o755),
            "key.pem": (12_345, 0, 0o600),
            "svid.pem": (12_345, 0, 0o644),
        }


@as_root
def test_a_group_may_read_the_key(place: Path) -> None:
    for _ in range(2):
        files.write(kept(place / "d", gid=23_456, group_readable=True), FILES)
        assert owners(place / "d") == {
            "d": (0, 23_456, 0o750),
            "generation": (0, 23_456, 0o750),
            "key.pem": (0, 23_456, 0o640),
            "svid.pem": (0, 0, 0o644),
        }


@as_root
def test_nothing_is_written_where_somebody_else_could_have_it_go_elsewhere(place: Path) -> None:
    (place / "d").mkdir()
    os.chown(place / "d", 12_345, -1)
    with pytest.raises(PermissionError, match="belongs to user 12345"):
        files.write(kept(place / "d", uid=12_345), FILES)
    assert list((place / "d").iterdir()) == []


async def test_directories_follow_renewal_bundles_and_revocations(kernel: KernelDouble, place: Path) -> None:
    configured = config(kernel, files=[{"identity": LEGACY, "directory": str(place / "legacy")}])
    async with Agent(configured, place / "home", joining=joining(kernel)) as agent:
        await written(agent, LEGACY)
        first = identity_directory.read(place / "legacy")
        assert _serial(first) == kernel.certificates(LEGACY)[0]
        assert first.federated == {}
        other = AuthorityDouble("other.test")
        kernel.federated.append(bundle_of("other.test", other))
        kernel.authorities.append(AuthorityDouble(DOMAIN))
        kernel.issuing = kernel.authorities[1]
        kernel.revoked.add("abcdef")
        await kernel.acknowledged(await kernel.publish())
        for directory, identity in ((place / "legacy", LEGACY), (place / "home", "node/one")):
            after = identity_directory.read(directory)
            assert _serial(after) == kernel.certificates(identity)[-1]
            assert len(x509_svid.read_pem(after.bundle)) == 2
            assert after.crl.count(b"BEGIN X509 CRL") == 2
            assert x509_svid.read_pem(after.federated["other.test"]) == [other.root]
            svid = keyed_svid.from_files(after, now=time.time())
            assert str(svid.identity) == f"spiffe://{DOMAIN}/{identity}"


async def test_an_agent_that_starts_again_gives_up_what_is_on_disk(kernel: KernelDouble, place: Path) -> None:
    configured = config(kernel, files=[{"identity": LEGACY, "directory": str(place / "legacy")}])
    async with Agent(configured, place / "home", joining=joining(kernel)) as agent:
        await written(agent, LEGACY)
    async with Agent(configured, place / "home"):
        await kernel.until(lambda: len(kernel.certificates(LEGACY)) == 2)
    assert kernel.certificates(LEGACY)[0] in kernel.superseded


async def test_a_bundle_counts_as_used_only_when_it_is_on_disk(
    kernel: KernelDouble, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = False
    revision = 0
    write: Callable[[KeptFiles, IdentityFiles], None] = files.write

    def fail_at_first(kept: KeptFiles, content: IdentityFiles) -> None:
        nonlocal broken
        if kept.directory == place / "legacy" and broken:
            broken = False
            assert all(revision not in watcher.acknowledged for watcher in kernel.watchers)
            raise OSError("the disk is full")
        write(kept, content)

    monkeypatch.setattr(files, "write", fail_at_first)
    monkeypatch.setattr(files, "FIRST_RETRY", 0.01)
    configured = config(kernel, files=[{"identity": LEGACY, "directory": str(place / "legacy")}])
    async with Agent(configured, place / "home", joining=joining(kernel)) as agent:
        await written(agent, LEGACY)
        broken = True
        kernel.authorities.append(AuthorityDouble(DOMAIN))
        revision = kernel.revision + 1
        await kernel.acknowledged(await kernel.publish())
        assert not broken
        assert len(x509_svid.read_pem(identity_directory.read(place / "legacy").bundle)) == 2


def _serial(found: IdentityFiles) -> str:
    return x509_svid.serial_of(x509_svid.read_pem(found.svid)[0])
