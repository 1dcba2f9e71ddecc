"""Resources as JSON, and for how many there is room."""

from __future__ import annotations

import json

from envoy.config.cluster.v3.cluster_pb2 import Cluster

from sira_grpc.xds.rendering import Rendered, render
from sira_grpc.xds.resource import Resource
from sira_grpc.xds.type_urls import CLUSTER


def cluster(name: str, **fields: str) -> Resource:
    return Resource(CLUSTER, name, Cluster(name=name, **fields).SerializeToString(), 1)


def test_a_line_for_each_field() -> None:
    text = render(cluster("b", alt_stat_name="a"))
    assert json.loads(text) == {"alt_stat_name": "a", "name": "b"}
    assert text.splitlines()[1:] == ['  "alt_stat_name": "a",', '  "name": "b"', "}"]


def test_each_is_rendered_as_long_as_there_is_room() -> None:
    small, large, last = cluster("a"), cluster("b" * 1000), cluster("c")
    rendered = Rendered([None, small, large, small, last], budget=100)
    assert [bool(rendered.of(each)) for each in (small, large, last, None)] == [True, False, True, False]
    assert not Rendered([small], budget=16).of(small), "the text is longer than what is serialized"


def test_the_same_content_is_rendered_once() -> None:
    assert Rendered([cluster("a")]).of(cluster("a")) == render(cluster("a"))
