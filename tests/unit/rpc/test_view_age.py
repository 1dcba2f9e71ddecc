"""What is read while the store is lost says how old it may be."""

from __future__ import annotations

from typing import Any, cast

import pytest

from sira_grpc.rpc.call import Call, Method
from sira_grpc.rpc.interceptors import ViewAge

READS = (
    "sira.registry.v1.ResolverService/Resolve",
    "sira.registry.v1.ResolverService/ListEvents",
    "sira.bus.v1.TopicService/GetTopic",
    "sira.bus.v1.SubscriptionService/ListSubscriptions",
    "sira.bus.v1.DeadLetterService/GetDeadLetter",
    "sira.cluster.v1.ClusterService/GetCluster",
    "sira.kernel.v1.KernelService/GetStatus",
)
OTHERS = (
    "sira.registry.v1.RegistryService/CreateService",
    "sira.bus.v1.PublishService/Publish",
    "sira.identity.v1.IdentityService/IssueCertificate",
    "grpc.health.v1.Health/Check",
    "grpc.channelz.v1.Channelz/GetServers",
)


class Trailers:
    """Stands where gRPC's context does."""

    def __init__(self) -> None:
        self.sent: list[tuple[str, str]] = []

    def set_trailing_metadata(self, metadata: tuple[tuple[str, str], ...]) -> None:
        self.sent.extend(metadata)


def entered(interceptor: ViewAge, name: str, *, streams: bool = False) -> list[tuple[str, str]]:
    trailers, never = Trailers(), cast(Any, None)
    method = Method(name, name.partition("/")[0], streams, deserialize=never, serialize=never)
    interceptor.enter(Call(method, cast(Any, trailers)))
    return trailers.sent


@pytest.mark.parametrize("name", READS)
def test_reads_are_marked_while_the_store_is_lost_and_not_before_or_after(name: str) -> None:
    interceptor = ViewAge()
    assert not entered(interceptor, name)
    interceptor.age = lambda: 1.2345
    assert entered(interceptor, name) == [("sira-view-age-ms", "1234")]
    interceptor.age = lambda: None
    assert not entered(interceptor, name)


@pytest.mark.parametrize("name", OTHERS)
def test_what_writes_or_is_not_ours_is_not_marked(name: str) -> None:
    interceptor = ViewAge()
    interceptor.age = lambda: 3.0
    assert not entered(interceptor, name)


def test_streams_are_not_marked() -> None:
    interceptor = ViewAge()
    interceptor.age = lambda: 3.0
    assert not entered(interceptor, "sira.registry.v1.ResolverService/Watch", streams=True)
