"""The Python client and a real kernel, through restarts, kills and drains."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import grpc
import pytest
import yaml
from sira.registry.v1.registry_service_pb2 import (
    DRAIN_OUTCOME_DEADLINE_EXCEEDED,
    DRAIN_OUTCOME_DRAINED,
    CreateServiceRequest,
    DrainRequest,
    HoldLeaseRequest,
    UpdateServiceRequest,
)
from sira.registry.v1.traffic_policy_pb2 import LB_POLICY_RING_HASH, LocalityFailover, TrafficPolicy
from sira_client import (
    AlreadyExistsError,
    Client,
    HealthCheck,
    HealthState,
    InvalidArgumentError,
    Locality,
    NotFoundError,
    RegistrationState,
    RetryPolicy,
    Service,
    ServiceView,
    Settings,
    TlsFiles,
    TtlCheck,
    UnavailableError,
    connect,
    connect_insecure,
)

from tests.integration.authority import Authority
from tests.integration.sira_process import SiraProcess, dev
from tests.unit.client.echo import Echo

HELD, RECONNECTING = RegistrationState.HELD, RegistrationState.RECONNECTING
SERVICE = "namespaces/default/services/echo"
ONE = "/test.Echo/One"
SETTINGS = Settings(default_timeout=20)


@pytest.fixture
def address() -> Iterator[str]:
    with dev() as kernel:
        yield kernel.json()["addresses"][0]


@pytest.fixture
async def client(address: str) -> AsyncIterator[Client]:
    async with connect_insecure(address, settings=SETTINGS) as connected:
        yield connected


@pytest.fixture
async def echoes() -> AsyncIterator[list[Echo]]:
    started = [Echo(name) for name in ("a", "b")]
    for echo in started:
        await echo.start()
    yield started
    for echo in started:
        await echo.stop()


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


@pytest.mark.parametrize("kill", [False, True])
async def test_a_kernel_restart_costs_no_registration_and_no_call(
    tmp_path: Path, echoes: list[Echo], kill: bool
) -> None:
    where = str(tmp_path)
    with dev("--data-dir", where) as kernel:
        address = kernel.json()["addresses"][0]
        async with (
            connect_insecure(address, settings=SETTINGS) as client,
            client.register("echo", port=echoes[0].port) as one,
            client.register("echo", port=echoes[1].port) as other,
        ):
            channel = client.channel("echo")
            callee = channel.unary_unary(ONE)
            assert await callee(b"", timeout=20) in {b"a", b"b"}
            await asyncio.to_thread(kernel.kill if kill else kernel.interrupt)
            for registration in (one, other):
                await registration.wait_for(RECONNECTING)
            assert Counter([await callee(b"", timeout=20) for _ in range(20)]).keys() == {b"a", b"b"}
            with pytest.raises(UnavailableError):
                await client.resolve("echo")
            with SiraProcess("dev", "--listen", address, "--data-dir", where) as again:
                await asyncio.to_thread(again.line)
                for registration in (one, other):
                    await registration.wait_for(HELD)
                assert {e.name for e in await client.resolve("echo")} == {one.name, other.name}
                await one.close()
                async with asyncio.timeout(20):
                    while len(channel._balancer._connected()) != 1:
                        await channel._balancer.changed()
                assert {await callee(b"", timeout=20) for _ in range(6)} == {b"b"}


async def test_a_kernel_that_lost_everything_is_told_again(echoes: list[Echo]) -> None:
    with dev() as kernel:
        address = kernel.json()["addresses"][0]
        async with (
            connect_insecure(address, settings=SETTINGS) as client,
            client.register("echo", port=echoes[0].port) as registration,
            client.channel("echo") as channel,
        ):
            watch = client.watch("echo")
            await anext(watch)
            assert await channel.unary_unary(ONE)(b"", timeout=20) == b"a"
            await asyncio.to_thread(kernel.interrupt)
            await registration.wait_for(RECONNECTING)
            with SiraProcess("dev", "--listen", address) as empty:
                await asyncio.to_thread(empty.line)
                await registration.wait_for(HELD)
                assert [e.name for e in await client.resolve("echo")] == [registration.name]
                assert await channel.unary_unary(ONE)(b"", timeout=20) == b"a"
            await watch.aclose()  # type: ignore[attr-defined]  # it is a generator


async def test_a_killed_endpoint_fails_no_call(client: Client, echoes: list[Echo]) -> None:
    async with (
        client.register("echo", port=echoes[0].port),
        client.register("echo", port=echoes[1].port),
        client.channel("echo", retry=RetryPolicy(idempotent=True)) as channel,
    ):
        async with asyncio.timeout(20):
            while len(channel._balancer._connected()) != 2:
                await channel._balancer.changed()
        calls = [channel.unary_unary(ONE)(b"wait", timeout=20) for _ in range(20)]
        for echo in echoes:
            for _ in range(10):
                await echo.under_way.acquire()
        echoes[1].release.set()
        await echoes[0].stop()
        assert {await call for call in calls} == {b"b"}


async def test_a_drained_endpoint_gets_no_call(client: Client, echoes: list[Echo]) -> None:
    async with (
        client.register("echo", port=echoes[0].port) as one,
        client.register("echo", port=echoes[1].port),
        client.channel("echo") as channel,
    ):
        async with asyncio.timeout(20):
            while len(channel._balancer._connected()) != 2:
                await channel._balancer.changed()
        response = await client.registry.Drain(DrainRequest(names=[one.name]))
        assert response.outcome == DRAIN_OUTCOME_DRAINED
        async with asyncio.timeout(20):
            while len(channel._balancer._connected()) != 1:
                await channel._balancer.changed()
        assert {await channel.unary_unary(ONE)(b"", timeout=20) for _ in range(10)} == {b"b"}


async def test_resolve_and_channel_agree(client: Client, echoes: list[Echo]) -> None:
    policy = TrafficPolicy(lb_policy=LB_POLICY_RING_HASH, locality_failover=LocalityFailover())
    await client.registry.CreateService(CreateServiceRequest(service=Service(name=SERVICE, traffic_policy=policy)))
    here = Locality(region="eu", zone="a")
    async with (
        client.register("echo", port=echoes[0].port, endpoint_id="a", locality=here),
        client.register("echo", port=echoes[1].port, endpoint_id="b", locality=here),
        client.register("echo", port=1, endpoint_id="far", locality=Locality(region="us")),
        client.channel("echo", locality=here) as channel,
    ):
        async with asyncio.timeout(20):
            while len(channel._balancer._connected()) != 2:
                await channel._balancer.changed()
        for key in "stuvwxyz":
            first = (await client.resolve("echo", locality=here, hash_key=key))[0]
            answer = await channel.unary_unary(ONE)(b"", timeout=20, metadata=(("sira-hash-key", key),))
            assert first.name.endswith("/" + answer.decode())


async def test_a_policy_reaches_the_channel(client: Client, echoes: list[Echo]) -> None:
    async with (
        client.register("echo", port=echoes[0].port),
        client.register("echo", port=echoes[1].port),
        client.channel("echo", client_id="me") as channel,
    ):
        async with asyncio.timeout(20):
            while len(channel._balancer._connected()) != 2:
                await channel._balancer.changed()
            service = Service(name=SERVICE, traffic_policy=TrafficPolicy(subset_size=1))
            await client.registry.UpdateService(UpdateServiceRequest(service=service))
            while len(channel._balancer._connected()) != 1:
                await channel._balancer.changed()
        assert len({await channel.unary_unary(ONE)(b"", timeout=20) for _ in range(6)}) == 1


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
