"""Policies as documents: what can be read, and what is written of what was read."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import pytest
import yaml
from sira.registry.v1.access_policy_pb2 import AccessPolicy, AllowRule
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, TrafficPolicy

from sira_grpc.cli.failures import Failure
from sira_grpc.cli.policy import document

BOTH = Service(
    traffic_policy=TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_RANDOM, subset_size=3),
    access_policy=AccessPolicy(allow=[AllowRule(sources=["namespaces/x/services/a"])]),
)


def read(tmp_path: Path, text: str) -> Service:
    """What a file comes to."""
    path = tmp_path / "policy.yaml"
    path.write_text(text)
    return document.read(str(path))


def test_what_is_written_can_be_read(tmp_path: Path) -> None:
    assert read(tmp_path, yaml.safe_dump(document.write(BOTH))) == BOTH
    assert document.write(Service(name="x")) == {}


def test_a_traffic_policy_alone_is_a_document(tmp_path: Path) -> None:
    service = read(tmp_path, "lbPolicy: LB_POLICY_RANDOM\nsubset_size: 3\n")
    assert service == Service(traffic_policy=BOTH.traffic_policy)
    assert document.held(service) == ["traffic_policy"]


def test_what_is_there_but_empty_is_kept(tmp_path: Path) -> None:
    service = read(tmp_path, "accessPolicy: {}")
    assert document.held(service) == ["access_policy"]
    assert document.held(read(tmp_path, "{}")) == ["traffic_policy"]
    assert document.held(read(tmp_path, "traffic_policy: {}\naccess_policy: {}")) == ["traffic_policy", "access_policy"]


def test_stdin_is_a_file_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", StringIO('{"subsetSize": 3}'))
    assert document.read("-").traffic_policy.subset_size == 3


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[", "cannot be read"),
        ("", "must be a mapping"),
        ("- a", "must be a mapping"),
        ("1: 2", "must be a mapping"),
        ("lbPolicy: nothing", "lbPolicy"),
        ("subsetSize: many", "subsetSize"),
        ("nothing: 1", "nothing"),
        ("trafficPolicy: {}\nlbPolicy: 1", "lbPolicy: unknown key; known here: trafficPolicy, accessPolicy"),
        ("trafficPolicy: 3", "trafficPolicy"),
        ("timeout: forever", "timeout"),
    ],
)
def test_what_cannot_be_read_is_named(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(Failure, match=f"policy.yaml: .*{complaint}"):
        read(tmp_path, text)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(Failure, match="nowhere: cannot be read"):
        document.read(str(tmp_path / "nowhere"))
