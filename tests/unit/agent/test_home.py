"""The agent's own directory: taking up what is there, and refusing what cannot be used."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from sira_grpc.agent import Agent, IdentityLost
from sira_grpc.agent.home import Home
from sira_grpc.errors import ConfigError
from tests.unit.agent.kernel_double import KernelDouble
from tests.unit.agent.workload import config, joining


@pytest.fixture
async def lived_in(kernel: KernelDouble, place: Path) -> Path:
    """The directory of an agent that has ended."""
    async with Agent(config(kernel), place / "home", joining=joining(kernel)):
        await kernel.acknowledged(kernel.revision)
    return place / "home"


def test_two_agents_do_not_live_in_one_directory(place: Path) -> None:
    first, second = Home(place / "home"), Home(place / "home")
    first.enter()
    with pytest.raises(ConfigError, match="in use by another agent"):
        second.enter()
    first.leave()
    second.enter()
    second.leave()


def test_a_directory_without_an_identity(place: Path) -> None:
    home = Home(place / "home")
    home.enter()
    assert home.read(now=time.time()) is None
    home.leave()


async def test_an_identity_is_found_with_its_trust(lived_in: Path, kernel: KernelDouble) -> None:
    found = Home(lived_in).read(now=time.time())
    assert found is not None
    svid, trust = found
    assert svid.serial == kernel.certificates("node/one")[0]
    assert trust.roots_der == kernel.authorities[0].root_der
    assert trust.jwt_documents == {}


async def test_an_identity_that_has_expired_is_lost(lived_in: Path) -> None:
    with pytest.raises(IdentityLost, match=r"expired 10. s ago; join again"):
        Home(lived_in).read(now=time.time() + 3700)


@pytest.mark.parametrize("name", ["svid.pem", "key.pem", "bundle.pem"])
async def test_a_file_that_is_damaged_is_told(lived_in: Path, name: str) -> None:
    (lived_in / name).write_bytes(b"garbage")
    with pytest.raises(ConfigError, match="no identity directory that can be used"):
        Home(lived_in).read(now=time.time())


async def test_a_key_of_another_certificate_is_told(lived_in: Path) -> None:
    from tests.unit.agent.authority_double import AuthorityDouble, pem_key

    (lived_in / "key.pem").write_bytes(pem_key(AuthorityDouble("a.test").key))
    with pytest.raises(ConfigError, match="not that of the key"):
        Home(lived_in).read(now=time.time())


def test_a_directory_that_others_may_write_to(place: Path) -> None:
    (place / "open").mkdir()
    (place / "open").chmod(0o777)
    with pytest.raises(ConfigError, match="written to by everybody"):
        Home(place / "open" / "home").enter()


def test_a_file_where_the_directory_should_be(place: Path) -> None:
    (place / "home").touch()
    with pytest.raises(ConfigError, match="cannot be used"):
        Home(place / "home").enter()
