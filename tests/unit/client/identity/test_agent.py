from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
import pytest
from sira.identity.workload.v1.workload_pb2 import X509SvidResponse
from sira_client import (
    DeadlineExceededError,
    IdentityAgent,
    InvalidArgumentError,
    NotFoundError,
    PermissionDeniedError,
    Settings,
    UnavailableError,
)
from sira_client.identity import agent

from tests.unit.client.failure import Failure
from tests.unit.client.identity.given import quick
from tests.unit.client.identity.said import Said
from tests.unit.client.identity.trust import CALLER, ECHO, Root
from tests.unit.client.identity.workload_api import WorkloadApi, svid

DENIED = Failure(grpc.StatusCode.PERMISSION_DENIED, message="no identity issued")


@pytest.fixture
async def api(tmp_path: Path) -> AsyncIterator[WorkloadApi]:
    running = WorkloadApi(tmp_path / "agent.sock")
    await running.start()
    yield running
    await running.stop()


@pytest.fixture
def source(api: WorkloadApi) -> IdentityAgent:
    return IdentityAgent(api.path, settings=quick())


async def test_the_default_identity_is_followed(api: WorkloadApi, source: IdentityAgent, root: Root) -> None:
    first, second = root.identity(), root.identity()
    await api.give(first, root.identity(ECHO))
    async with source:
        assert source.current == first
        await api.give(second)
        assert await source.changed(first) == second
    assert api.streams == 1


async def test_one_of_several_identities_can_be_chosen(api: WorkloadApi, root: Root) -> None:
    await api.give(root.identity(), root.identity(ECHO))
    async with IdentityAgent(f"unix:{api.path}", identity=ECHO) as source:
        assert source.current.spiffe_id == ECHO
    with pytest.raises(NotFoundError, match=r"gives no identity spiffe://example\.org/none"):
        await IdentityAgent(f"unix://{api.path}", identity="spiffe://example.org/none", timeout=0).__aenter__()


async def test_bundles_of_others_come_along(
    api: WorkloadApi, source: IdentityAgent, root: Root, next_root: Root
) -> None:
    await api.give(root.identity(federated={"other.org": next_root.pem}))
    async with source:
        assert source.current.federated == {"other.org": next_root.pem}


async def test_an_agent_that_restarts_is_followed_on(
    api: WorkloadApi, source: IdentityAgent, root: Root, said: Said
) -> None:
    first, second = root.identity(), root.identity()
    await api.give(first)
    async with source:
        await api.stop()
        assert source.current == first
        await api.give(second)
        await api.start()
        assert await source.changed(first) == second
        again = root.identity()
        await api.give(again)
        assert await source.changed(second) == again
        await said.until("the identity agent at unix:")


async def test_an_agent_that_hangs_up_is_followed_on(
    api: WorkloadApi, source: IdentityAgent, root: Root, said: Said
) -> None:
    first, second = root.identity(), root.identity()
    await api.give(first)
    async with source:
        await api.hang_up()
        await said.until("ended the stream")
        await api.give(second)
        assert await source.changed(first) == second


async def test_an_agent_is_waited_for_at_first(api: WorkloadApi, source: IdentityAgent, root: Root) -> None:
    await api.stop()
    entering = asyncio.create_task(source.__aenter__())
    api.failures.append(DENIED)
    await api.give(root.identity())
    await api.start()
    await entering
    assert api.streams == 2
    await source.__aexit__(None, None, None)


async def test_an_agent_that_is_not_there_in_time_is_an_error(api: WorkloadApi) -> None:
    await api.stop()
    with pytest.raises(UnavailableError, match="failed to connect"):
        await IdentityAgent(api.path, timeout=0).__aenter__()


async def test_an_agent_without_an_identity_for_us_is_an_error(api: WorkloadApi) -> None:
    api.failures.append(DENIED)
    with pytest.raises(PermissionDeniedError, match="no identity issued"):
        await IdentityAgent(api.path, timeout=0).__aenter__()
    await api.answer(X509SvidResponse())
    with pytest.raises(NotFoundError, match="gives no identity"):
        await IdentityAgent(api.path, timeout=0).__aenter__()


async def test_an_agent_that_says_nothing_is_an_error(api: WorkloadApi) -> None:
    await api.fall_silent()
    impatient = Settings(default_timeout=0.05)
    with pytest.raises(DeadlineExceededError, match="did not answer in time"):
        await IdentityAgent(api.path, timeout=0, settings=impatient).__aenter__()


@pytest.mark.parametrize(
    ("field", "value", "complaint"),
    [
        ("x509_svid", b"", "x509_svid: is empty"),
        ("x509_svid", b"junk", "x509_svid: is no DER"),
        ("x509_svid_key", b"junk", "x509_svid_key: is no"),
        ("bundle", b"", "bundle: is empty"),
        ("spiffe_id", ECHO, "x509_svid: must be for its spiffe_id"),
    ],
)
async def test_what_is_no_identity_is_refused_and_the_one_before_stays(
    api: WorkloadApi,
    source: IdentityAgent,
    root: Root,
    said: Said,
    field: str,
    value: bytes | str,
    complaint: str,
) -> None:
    bad = svid(root.identity())
    setattr(bad, field, value)
    await api.answer(X509SvidResponse(svids=[bad]))
    with pytest.raises(ValueError, match=complaint):
        await IdentityAgent(api.path, timeout=0).__aenter__()
    good = root.identity()
    await api.give(good)
    async with source:
        await api.answer(X509SvidResponse(svids=[bad]))
        await said.until(complaint)
        assert source.current == good


async def test_tokens_are_fetched_without_following(api: WorkloadApi) -> None:
    api.give_tokens(one="a.b.c", other="d.e.f")
    source = IdentityAgent(api.path)
    assert await source.fetch_jwt("spiffe://example.org") == "a.b.c"
    assert await source.fetch_jwt(["one", "two"], "spiffe://example.org/other") == "d.e.f"
    assert [list(request.audience) for request in api.asked] == [["spiffe://example.org"], ["one", "two"]]
    assert [request.spiffe_id for request in api.asked] == ["", "spiffe://example.org/other"]
    with pytest.raises(NotFoundError, match=r"gave no token for spiffe://example\.org/none"):
        await source.fetch_jwt("one", "spiffe://example.org/none")
    api.failures.append(Failure(grpc.StatusCode.INVALID_ARGUMENT))
    with pytest.raises(InvalidArgumentError):
        await source.fetch_jwt("one")


@pytest.mark.parametrize("audience", ["", [], ["one", ""]])
async def test_a_token_is_for_somebody(audience: str | list[str]) -> None:
    with pytest.raises(ValueError, match="audience: there must be one"):
        await IdentityAgent("/nowhere").fetch_jwt(audience)


def test_the_socket_is_that_of_the_environment_by_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(agent.SOCKET_VARIABLE, raising=False)
    assert str(IdentityAgent()) == "the identity agent at unix:/run/sira/agent.sock"
    monkeypatch.setenv(agent.SOCKET_VARIABLE, "unix:///tmp/other.sock")
    assert str(IdentityAgent()) == "the identity agent at unix:/tmp/other.sock"
    assert str(IdentityAgent(Path("/a.sock"))) == "the identity agent at unix:/a.sock"


@pytest.mark.parametrize("socket", ["", "unix:", "tcp://127.0.0.1:1", "https://example.org"])
def test_a_socket_that_is_none_is_refused(socket: str) -> None:
    with pytest.raises(ValueError, match=r"socket: .* must be the path of a Unix socket"):
        IdentityAgent(socket)


def test_an_agent_does_not_show_what_it_gives(root: Root) -> None:
    assert CALLER not in repr(IdentityAgent("/nowhere"))
