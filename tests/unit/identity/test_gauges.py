"""Identity's sizes and times as metrics."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import cast

import pytest
from sira.identity.v1.federated_bundle_pb2 import BundleEndpointProfile, FederatedBundle

from sira_grpc.identity.gauges import expose
from sira_grpc.telemetry import Telemetry
from tests.unit.identity.test_federation import document
from tests.unit.identity.world import PUBLISHING, World


class Readings:
    """Stands where the exporters do: keeps what each gauge is read by."""

    def __init__(self) -> None:
        self.gauges: dict[str, Callable[[], float]] = {}

    def gauge(self, name: str, read: Callable[[], float], *, unit: str = "1", description: str) -> None:
        assert description.endswith(".")
        self.gauges[name.removeprefix("sira.identity.")] = read

    def read(self) -> dict[str, float]:
        return {name: read() for name, read in self.gauges.items()}


@pytest.fixture
def readings(world: World) -> Readings:
    made = Readings()
    expose(world.identity, cast(Telemetry, made), world.clock)
    return made


async def test_what_is_read(world: World, readings: Readings) -> None:
    root_ttl = world.config.root_ttl
    wanted = {
        "certificates.issued": 2,
        "certificates.recorded": 2,
        "watchers": 0,
        "rotation.stage": 0,
        "root.expiry": root_ttl,
        "federation.failing": 0,
    }
    assert readings.read() == wanted
    await world.join()
    watching = world.watch()
    world.clock.advance(100)
    await world.identity.rotator.start()
    wanted |= {"certificates.issued": 3, "certificates.recorded": 3, "watchers": 1, "rotation.stage": 1}
    assert readings.read() == wanted | {"root.expiry": root_ttl - 100}
    await world.identity.rotator.advance(PUBLISHING)
    assert (readings.read()["rotation.stage"], readings.read()["root.expiry"]) == (2, root_ttl)
    await watching.leave()


async def test_a_trust_domain_that_cannot_be_refreshed_is_counted(world: World, readings: Readings) -> None:
    profile = BundleEndpointProfile.BUNDLE_ENDPOINT_PROFILE_HTTPS_WEB
    endpoint = FederatedBundle(endpoint_url="https://other.test/", endpoint_profile=profile)
    await world.identity.federation.set("other.test", document(), endpoint)
    await world.turns()
    world.clock.advance(60)
    await world.identity.federation._refresh("other.test")
    assert readings.read()["federation.failing"] == 1


async def test_they_are_read_on_other_threads_while_the_root_is_exchanged(world: World, readings: Readings) -> None:
    failures: list[Exception] = []
    done = threading.Event()

    def read() -> None:
        while not done.is_set():
            try:
                readings.read()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is the test's failure
                failures.append(error)

    reader = threading.Thread(target=read)
    reader.start()
    for _ in range(5):
        await world.identity.rotator.start()
        for stage in (1, 2, 3):
            await world.identity.rotator.advance(stage)  # type: ignore[arg-type]  # a stage
    done.set()
    reader.join()
    assert not failures
