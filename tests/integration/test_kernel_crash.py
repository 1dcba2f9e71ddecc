"""A kernel is killed while callers register: what it acknowledged is there when it comes back."""

from __future__ import annotations

import random
import threading
from pathlib import Path

import grpc
import pytest
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.registry_service_pb2 import DeregisterEndpointsRequest, RegisterEndpointsRequest
from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from sira.registry.v1.resolver_service_pb2 import ListEndpointsRequest
from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceStub

from tests.integration.sira_process import dev

SERVICE = "namespaces/default/services/crash"
KILLS = 12
CALLERS = 4


class Caller(threading.Thread):
    """Registers endpoints one by one, and removes every third again, until the kernel is gone."""

    def __init__(self, address: str, number: int, generation: int, acknowledged: threading.Semaphore) -> None:
        super().__init__()
        self._address = address
        self._prefix = f"e{generation}-{number}"
        self._acknowledged = acknowledged
        self.present: set[str] = set()
        self.removed: set[str] = set()
        self.unknown: set[str] = set()
        self.failure: grpc.RpcError | None = None

    def run(self) -> None:
        with grpc.insecure_channel(self._address) as channel:
            registry = RegistryServiceStub(channel)
            for i in range(1_000_000):
                name = f"{SERVICE}/endpoints/{self._prefix}-{i}"
                try:
                    self._register(registry, name, remove=i % 3 == 2)
                except grpc.RpcError as error:
                    self.unknown.add(name)
                    self.failure = error
                    return
                self._acknowledged.release()

    def _register(self, registry: RegistryServiceStub, name: str, *, remove: bool) -> None:
        request = RegisterEndpointsRequest(
            endpoints=[Endpoint(name=name, addresses=["127.0.0.1"], port=8080)], allow_missing_service=True
        )
        request.lease_ttl.seconds = 3600
        answer = registry.RegisterEndpoints(request)
        self.present.add(name)
        if remove:
            try:
                registry.DeregisterEndpoints(DeregisterEndpointsRequest(lease_key=answer.lease_key, names=[name]))
            finally:
                self.present.discard(name)
            self.removed.add(name)


def list_names(address: str) -> set[str]:
    names: set[str] = set()
    with grpc.insecure_channel(address) as channel:
        resolver = ResolverServiceStub(channel)
        token = ""
        while True:
            request = ListEndpointsRequest(parent=SERVICE, page_size=1000, page_token=token)
            page = resolver.ListEndpoints(request)
            names.update(endpoint.name for endpoint in page.endpoints)
            token = page.next_page_token
            if not token:
                return names


@pytest.mark.parametrize("seed", [20_26])
def test_what_was_acknowledged_outlives_every_kill(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    present: set[str] = set()
    removed: set[str] = set()
    unknown: set[str] = set()
    for generation in range(KILLS):
        with dev("--data-dir", str(tmp_path)) as kernel:
            address = kernel.json()["addresses"][0]
            if generation:
                found = list_names(address)
                assert present - unknown <= found
                assert not (removed - unknown) & found
                assert found <= present | unknown
            acknowledged = threading.Semaphore(0)
            callers = [Caller(address, number, generation, acknowledged) for number in range(CALLERS)]
            for caller in callers:
                caller.start()
            for _ in range(rng.randint(1, 150)):
                acknowledged.acquire()
            kernel.kill()
            for caller in callers:
                caller.join()
                assert caller.failure is not None
                assert caller.failure.code() == grpc.StatusCode.UNAVAILABLE, caller.failure
                present |= caller.present
                removed |= caller.removed
                unknown |= caller.unknown
    assert len(present) > KILLS
    assert removed
