"""The Python client and a real kernel: registrations, errors, reports, TLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
import yaml
from sira.registry.v1.registry_service_pb2 import (
    DRAIN_OUTCOME_DEADLINE_EXCEEDED,
    DRAIN_OUTCOME_DRAINED,
    HoldLeaseRequest,
)
from sira_client import (
    AlreadyExistsError,
    Client,
    HealthCheck,
    HealthState,
    InvalidArgumentError,
    Locality,
    NotFoundError,
    RegistrationState,
    ServiceView,
    Settings,
    TlsFiles,
    TtlCheck,
    UnavailableError,
    connect,
    connect_insecure,
)
from sira_client.load_reporter import REFRESH_SECONDS

from tests.integration.authority import Authority
from tests.integration.sira_process import SiraProcess, dev

HELD, RECONNECTING = RegistrationState.HELD, RegistrationState.RECONNECTING
SETTINGS = Settings(default_timeout=20)


@pytest.fixture
def address() -> Iterator[str]:
    with dev() as kernel:
        yield kernel.json()["addresses"][0]


@pytest.fixture
async def client(address: str) -> AsyncIterator[Client]:
    async with connect_insecure(address, settings=SETTINGS) as connected:
        yield connected


def ids(view: ServiceView) -> set[str]:
    return {name.rpartition("/")[2] for name in view.endpoints}


async def test_what_is_registered_is_resolved_and_watched_until_it_is_gone(client: Client) -> None:
    async with client.register(
        "echo", port=8080, endpoint_id="one", weight=7, locality=Locality(region="eu"), metadata={"a": "b"}
    ) as registration:
        (resolved,) = await client.resolve("echo")
        assert (resolved.name, list(resolved.addresses), resolved.port) == (registration.name, ["127.0.0.1"], 8080)
        assert resolved.metadata == {"a": "b"}
        watch = client.watch("echo")
        assert ids(await anext(watch)) == {"one"}
        stored = await registration.update(weight=9, tags=["blue"])
        assert (stored.weight, list(stored.tags), dict(stored.metadata)) == (9, ["blue"], {"a": "b"})
        async with asyncio.timeout(20):
            async for view in watch:
                if view.endpoints[registration.name].weight == 9:
                    break
    async with asyncio.timeout(20):
        async for view in watch:
            if not view.endpoints:
                break
    assert await client.resolve("echo") == []
    assert [e.state for e in await client.resolve("echo", include_unhealthy=True)] == []
    await watch.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_errors_are_typed_and_say_what_is_wrong(client: Client) -> None:
    with pytest.raises(NotFoundError) as missing:
        await client.resolve("nobody")
    assert missing.value.reason == "SERVICE_NOT_FOUND"
    with pytest.raises(InvalidArgumentError) as malformed:
        await client.register("echo", port=70_000).__aenter__()
    assert malformed.value.reason == "INVALID_FIELD"
    assert [violation.field for violation in malformed.value.violations] == ["endpoints[0].port"]
    with pytest.raises(NotFoundError) as nowhere:
        await client.register("echo", port=1, namespace="nowhere").__aenter__()
    assert nowhere.value.reason == "NAMESPACE_NOT_FOUND"
    async with client.register("echo", port=1, endpoint_id="one"):
        with pytest.raises(AlreadyExistsError) as held:
            await client.register("echo", port=1, endpoint_id="one").__aenter__()
        assert held.value.reason == "ENDPOINT_HELD"


async def test_somebody_with_the_key_takes_the_lease_over(client: Client, caplog: pytest.LogCaptureFixture) -> None:
    async with client.register("echo", port=1) as registration:
        thief = client._link.member.registry.HoldLease()
        await thief.write(HoldLeaseRequest(lease_key=registration._holder.key))
        assert await thief.read() is not grpc.aio.EOF
        await registration.wait_for(RegistrationState.SUPERSEDED)
        assert registration.error is not None
        assert registration.error.reason == "LEASE_SUPERSEDED"
        assert [e.name for e in await client.resolve("echo")] == [registration.name]
        await thief.done_writing()
        assert await thief.read() is not grpc.aio.EOF  # closing gets an answer of its own
        assert await thief.read() is grpc.aio.EOF
    assert await client.resolve("echo") == []


async def test_a_ttl_check_is_answered(client: Client) -> None:
    check = HealthCheck(ttl=TtlCheck())
    check.ttl.ttl.seconds = 60
    async with client.register("echo", port=1, health_check=check) as registration:
        assert await client.resolve("echo") == []
        for state, resolved in (
            (HealthState.HEALTH_STATE_SERVING, [registration.name]),
            (HealthState.HEALTH_STATE_NOT_SERVING, []),
        ):
            await registration.report_health(state, "as it says")
            async with asyncio.timeout(20):
                async for view in client.watch("echo"):
                    if view.endpoints[registration.name].status.state == state:
                        break
            assert [e.name for e in await client.resolve("echo")] == resolved


async def test_drain_waits_for_reported_load(client: Client) -> None:
    async with client.register("echo", port=1, drain_timeout=0) as registration:
        registration.report_load(in_flight=2)
        while True:
            drained = await registration.drain(0.0)
            if drained.endpoints[0].in_flight == 2:
                break
        assert drained.outcome == DRAIN_OUTCOME_DEADLINE_EXCEEDED
        draining = asyncio.create_task(registration.drain(20))
        registration.report_load(in_flight=0)
        assert (await draining).outcome == DRAIN_OUTCOME_DRAINED
        assert await client.resolve("echo") == []


async def test_an_idle_endpoint_is_drained_without_waiting_for_its_next_regular_report(client: Client) -> None:
    async with client.register("echo", port=1, drain_timeout=0) as registration:
        registration.report_load(in_flight=0)
        while not (await registration.drain(0.0)).endpoints[0].HasField("in_flight"):
            pass
        drained = await registration.drain(REFRESH_SECONDS / 2)
        assert drained.outcome == DRAIN_OUTCOME_DRAINED


async def test_mutual_tls_from_files(tmp_path: Path) -> None:
    authority = Authority(tmp_path, "authority")
    server, caller = authority.server(), authority.issue("caller")
    tls = {
        "cert_file": str(server.certificate),
        "key_file": str(server.key),
        "client_ca_file": str(authority.file),
        "client_auth": "required",
    }
    config = tmp_path / "sira.yaml"
    config.write_text(
        yaml.safe_dump(
            {"server": {"addresses": ["127.0.0.1:0"], "tls": tls}, "store": {"data_dir": str(tmp_path / "data")}}
        )
    )
    with SiraProcess("up", "-o", "json", "--config", str(config)) as kernel:
        address = kernel.json()["addresses"][0]
        files = TlsFiles(ca=authority.file, cert=caller.certificate, key=caller.key)
        async with connect(address, tls=files, settings=SETTINGS) as client, client.register("echo", port=1) as one:
            assert [e.name for e in await client.resolve("echo")] == [one.name]
        stranger = connect(address, tls=TlsFiles(ca=authority.file), settings=Settings(default_timeout=20))
        async with stranger as client:
            with pytest.raises(UnavailableError):
                await client.resolve("echo")
    with pytest.raises(OSError, match=r"missing\.pem"):
        await connect("127.0.0.1:1", tls=TlsFiles(ca=tmp_path / "missing.pem")).__aenter__()
