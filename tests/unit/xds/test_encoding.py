from __future__ import annotations

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse
from envoy.service.discovery.v3.discovery_pb2 import Resource as Wrapper
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.xds.encoding import (
    Body,
    Encoder,
    combined,
    delta_heartbeat,
    delta_response,
    sotw_heartbeat,
    sotw_response,
)
from sira_grpc.xds.resource import Resource
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS

texts = st.text(min_size=1, max_size=300)
contents = st.lists(st.tuples(texts, st.binary(max_size=20_000)), max_size=5)


def made(found: list[tuple[str, bytes]]) -> tuple[Resource, ...]:
    return tuple(Resource(CLUSTER, name, body, 1) for name, body in found)


@given(found=contents, nonce=texts, missing=st.lists(texts, max_size=3))
def test_a_state_of_the_world_reads_as_what_it_was_made_of(
    found: list[tuple[str, bytes]], nonce: str, missing: list[str]
) -> None:
    body = Encoder().sotw(CLUSTER, made(found))
    response = DiscoveryResponse.FromString(sotw_response(body, nonce, missing))
    assert [(each.type_url, each.value) for each in response.resources] == [(CLUSTER, content) for _, content in found]
    assert (response.type_url, response.nonce, response.version_info) == (CLUSTER, nonce, body.version)
    assert [error.resource_name.name for error in response.resource_errors] == missing
    assert all(error.error_detail.code == 5 for error in response.resource_errors)


@given(found=contents, nonce=texts, removed=st.lists(texts, max_size=3), ttl=st.sampled_from([0, 1.5]))
def test_a_delta_reads_as_what_it_was_made_of(
    found: list[tuple[str, bytes]], nonce: str, removed: list[str], ttl: float
) -> None:
    resources = made(found)
    response = DeltaDiscoveryResponse.FromString(
        delta_response(Encoder().delta(CLUSTER, resources, ttl), nonce, removed)
    )
    assert [(each.name, each.version) for each in response.resources] == [(r.name, r.version) for r in resources]
    assert [(each.resource.type_url, each.resource.value) for each in response.resources] == [
        (CLUSTER, resource.body) for resource in resources
    ]
    assert all(each.HasField("ttl") == bool(ttl) for each in response.resources)
    assert all(each.ttl.ToMilliseconds() == ttl * 1000 for each in response.resources)
    assert (response.type_url, response.nonce, list(response.removed_resources)) == (CLUSTER, nonce, removed)


@given(found=contents)
def test_a_resource_of_a_state_of_the_world_is_wrapped_in_its_ttl(found: list[tuple[str, bytes]]) -> None:
    resources = made(found)
    response = DiscoveryResponse.FromString(sotw_response(Encoder().sotw(CLUSTER, resources, 2), "n"))
    for outer, resource in zip(response.resources, resources, strict=True):
        wrapper = Wrapper()
        assert outer.Unpack(wrapper)
        assert (wrapper.name, wrapper.version, wrapper.ttl.seconds) == (resource.name, resource.version, 2)
        assert (wrapper.resource.type_url, wrapper.resource.value) == (CLUSTER, resource.body)


def test_heartbeats_have_no_content() -> None:
    [resource] = made([("a", b"content")])
    delta = DeltaDiscoveryResponse.FromString(delta_heartbeat(ENDPOINTS, [resource], "n", 3))
    assert [(r.name, r.version, r.ttl.seconds, r.HasField("resource")) for r in delta.resources] == [
        ("a", resource.version, 3, False)
    ]
    sotw = DiscoveryResponse.FromString(sotw_heartbeat(ENDPOINTS, ["a", "b"], "v", "n", 3))
    wrappers = [Wrapper.FromString(each.value) for each in sotw.resources]
    assert [(r.name, r.version, r.ttl.seconds, r.HasField("resource")) for r in wrappers] == [
        ("a", "v", 3, False),
        ("b", "v", 3, False),
    ]
    assert (sotw.version_info, sotw.type_url, sotw.nonce) == ("v", ENDPOINTS, "n")


def test_a_version_depends_on_the_content_and_not_on_the_order() -> None:
    one, other, changed = made([("a", b"1"), ("b", b"2"), ("a", b"3")])
    assert combined((one, other)) == combined((other, one))
    assert len({combined(each) for each in ((), (one,), (other,), (one, other), (changed, other))}) == 5


def test_the_same_is_made_once() -> None:
    encoder = Encoder()
    resources = made([("a", b"1"), ("b", b"2")])
    body = encoder.sotw(CLUSTER, resources)
    assert encoder.sotw(CLUSTER, (resources[0], resources[1])) is body
    others: list[Body] = [
        encoder.delta(CLUSTER, resources),
        encoder.sotw(CLUSTER, resources, 1),
        encoder.sotw(CLUSTER, made([("a", b"1"), ("b", b"2")])),
        encoder.sotw(ENDPOINTS, ()),
        encoder.sotw(CLUSTER, ()),
    ]
    assert all(other is not body for other in others)


@pytest.mark.parametrize("size", [0, 100, 10_000])
def test_what_is_kept_is_bounded(size: int) -> None:
    encoder = Encoder(cache_bytes=5_000)
    for i in range(100):
        resources = made([(f"a{i}", b"x" * size)])
        assert encoder.sotw(CLUSTER, resources).resources == resources
    kept = encoder._bodies.values()
    assert sum(len(body.data) for body in kept) <= 5_000
    assert encoder._size <= 5_000
    assert bool(kept) == (size < 5_000)
