"""The lines of a watch."""

from __future__ import annotations

from sira.registry.v1.endpoint_pb2 import Endpoint, EndpointStatus
from sira.registry.v1.health_check_pb2 import HealthState
from sira.registry.v1.resolver_service_pb2 import WatchChanges, WatchProgress, WatchResponse, WatchSnapshot
from sira.registry.v1.service_pb2 import Service

from sira_grpc.cli.watch import ChangeLines

SERVICE = "namespaces/default/services/checkout"


def endpoint(name: str) -> Endpoint:
    status = EndpointStatus(state=HealthState.HEALTH_STATE_SERVING)
    return Endpoint(name=f"{SERVICE}/endpoints/{name}", addresses=["10.0.0.1"], port=80, status=status)


def told(changes: ChangeLines, message: WatchResponse) -> list[list[str]]:
    return [line.split() for line in changes.lines(message)]


def test_a_snapshot_in_parts_then_changes() -> None:
    changes = ChangeLines()
    rest = ["10.0.0.1:80", "[green]SERVING[/]"]
    first = WatchSnapshot(service=Service(name=SERVICE), endpoints=[endpoint("a")], more=True)
    second = WatchSnapshot(endpoints=[endpoint("b")])
    assert told(changes, WatchResponse(revision=1, snapshot=first)) == [["1", "there", "default/checkout/a", *rest]]
    assert told(changes, WatchResponse(revision=1, snapshot=second)) == [["1", "there", "default/checkout/b", *rest]]

    delta = WatchChanges(upserted=[endpoint("b"), endpoint("c")], deleted=[endpoint("a").name])
    delta.service.name = SERVICE
    assert told(changes, WatchResponse(revision=2, changes=delta)) == [
        ["2", "changed", "default/checkout/b", *rest],
        ["2", "added", "default/checkout/c", *rest],
        ["2", "[red]deleted[/]", "default/checkout/a"],
        ["2", "service", "default/checkout"],
    ]


def test_a_new_snapshot_replaces_what_was_known() -> None:
    changes = ChangeLines()
    for name in ("a", "b"):
        told(changes, WatchResponse(revision=1, snapshot=WatchSnapshot(endpoints=[endpoint(name)])))
    delta = WatchChanges(upserted=[endpoint("a")])
    assert told(changes, WatchResponse(revision=2, changes=delta))[0][1] == "added"


def test_progress_has_no_line() -> None:
    assert told(ChangeLines(), WatchResponse(revision=3, progress=WatchProgress())) == []
