from __future__ import annotations

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from hypothesis import given
from hypothesis import strategies as st
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import GrpcCheck, HealthCheck, TcpCheck
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import LocalityFailover, TrafficPolicy

from sira_grpc.errors import InvalidFieldMask
from sira_grpc.field_masks import check_paths, overwrite, project

WRITABLE = ("port", "locality", "metadata", "tags", "health_check")


def endpoint() -> Endpoint:
    return Endpoint(
        name="e", port=1, locality=Locality(region="r", zone="z"), metadata={"a": "1", "b": "2"}, tags=["x", "y"]
    )


def written(source: Endpoint, *paths: str) -> Endpoint:
    target = endpoint()
    overwrite(target, source, FieldMask(paths=paths), WRITABLE)
    return target


def test_an_empty_mask_writes_all_that_may_be_written() -> None:
    assert written(Endpoint(name="other", port=2, version="v")) == Endpoint(name="e", port=2)


def test_a_map_or_list_is_replaced_whole() -> None:
    result = written(Endpoint(metadata={"c": "3"}, tags=["z"]), "metadata", "tags")
    assert (dict(result.metadata), list(result.tags), result.port) == ({"c": "3"}, ["z"], 1)


def test_what_the_source_lacks_is_cleared() -> None:
    assert written(Endpoint(), "port", "locality") == Endpoint(name="e", metadata={"a": "1", "b": "2"}, tags=["x", "y"])


def test_a_deep_path_leaves_its_neighbours() -> None:
    assert written(Endpoint(locality=Locality(zone="z2")), "locality.zone").locality == Locality(region="r", zone="z2")


def test_a_deep_path_clears_where_the_source_lacks_what_is_around_it() -> None:
    assert written(Endpoint(), "locality.zone").locality == Locality(region="r")


def test_a_deep_path_makes_what_is_around_it_only_if_it_has_something() -> None:
    assert not written(Endpoint(), "health_check.grpc.port").HasField("health_check")
    result = written(Endpoint(health_check=HealthCheck(grpc=GrpcCheck(port=7))), "health_check.grpc.port")
    assert result.health_check.grpc.port == 7


def test_a_deep_path_into_another_kind_replaces_the_kind() -> None:
    target = Endpoint(health_check=HealthCheck(tcp=TcpCheck(port=1)))
    source = Endpoint(health_check=HealthCheck(grpc=GrpcCheck(service="s")))
    overwrite(target, source, FieldMask(paths=["health_check.grpc.service"]), WRITABLE)
    assert target.health_check.WhichOneof("kind") == "grpc"


def test_a_path_and_a_part_of_it_mean_the_whole() -> None:
    for paths in (("locality", "locality.zone"), ("locality.zone", "locality")):
        assert written(Endpoint(locality=Locality(zone="n")), *paths).locality == Locality(zone="n")


def test_an_empty_message_that_is_there_stays_there() -> None:
    source = Service(traffic_policy=TrafficPolicy(locality_failover=LocalityFailover()))
    for path in ("traffic_policy", "traffic_policy.locality_failover"):
        target = Service()
        overwrite(target, source, FieldMask(paths=[path]), ["traffic_policy"])
        assert target.traffic_policy.HasField("locality_failover"), path
        assert project(source, FieldMask(paths=[path])).traffic_policy.HasField("locality_failover"), path


@pytest.mark.parametrize("path", ["nope", "", "locality.nope", "metadata.a", "tags.x", "port.x", "status."])
def test_a_path_that_is_not_there_is_refused(path: str) -> None:
    target = endpoint()
    with pytest.raises(InvalidFieldMask, match=f"^update_mask: Endpoint has no field '{path}'"):
        overwrite(target, Endpoint(), FieldMask(paths=["port", path]), WRITABLE)
    assert target == endpoint()


@pytest.mark.parametrize("path", ["name", "status", "status.state", "etag"])
def test_a_path_that_may_not_be_written_is_refused(path: str) -> None:
    target = endpoint()
    with pytest.raises(InvalidFieldMask, match="health_check, locality, metadata, port, tags may"):
        overwrite(target, Endpoint(), FieldMask(paths=["port", path]), WRITABLE)
    assert target == endpoint()


def test_reading_through_a_mask() -> None:
    assert project(endpoint(), FieldMask()) == endpoint()
    assert project(endpoint(), FieldMask(paths=["port", "locality.zone"])) == Endpoint(
        port=1, locality=Locality(zone="z")
    )
    check_paths(FieldMask(paths=["status.state"]), Endpoint(), "read_mask")
    with pytest.raises(InvalidFieldMask, match=r"^read_mask: "):
        check_paths(FieldMask(paths=["statu"]), Endpoint(), "read_mask")


PATHS = st.sampled_from(["port", "locality", "locality.zone", "locality.region", "metadata", "tags"])


@given(st.lists(PATHS, max_size=6))
def test_what_was_written_through_a_mask_reads_the_same_through_it(paths: list[str]) -> None:
    source = Endpoint(port=9, locality=Locality(region="n"), metadata={"k": "v"}, tags=["t"])
    mask = FieldMask(paths=paths)
    target = endpoint()
    overwrite(target, source, mask, WRITABLE)
    if paths:
        assert project(target, mask) == project(source, mask)
    untouched = [p for p in ("port", "metadata", "tags") if paths and p not in paths]
    assert project(target, FieldMask(paths=untouched or ["version"])) == project(
        endpoint(), FieldMask(paths=untouched or ["version"])
    )
