from __future__ import annotations

import gc
import weakref

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sira.registry.v1.health_check_pb2 import HealthState

from sira_grpc.xds import rows
from sira_grpc.xds.rows import Rows, rows_of
from tests.unit.xds.mesh import API, HELD, SUSPECT, WEB, Mesh, endpoint


def present(mesh: Mesh, service: str = WEB) -> list[str]:
    return [row.message.name.rpartition("/")[2] for row in rows_of(mesh.view, mesh.view.services[service])]


def test_only_what_has_changed_is_worked_out_again(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = Mesh()
    mesh.service()
    mesh.endpoints(*(endpoint(n) for n in range(10)))
    before = rows_of(mesh.view, mesh.view.services[WEB])
    assert rows_of(mesh.view, mesh.view.services[WEB]) is before
    mesh.drain("e3")
    after = rows_of(mesh.view, mesh.view.services[WEB])
    assert [old is new for old, new in zip(before, after, strict=True)].count(False) == 1
    assert [row.draining for row in after].count(True) == 1


def test_a_service_that_is_created_anew_has_its_own_rows() -> None:
    mesh = Mesh()
    mesh.service()
    mesh.endpoint(endpoint(1))
    assert present(mesh) == ["e1"]
    mesh.delete_service()
    mesh.service()
    assert present(mesh) == []


def test_rows_go_with_their_services_and_their_view() -> None:
    mesh = Mesh()
    mesh.service()
    mesh.service(API)
    for service in (WEB, API):
        present(mesh, service)
    mesh.delete_service(WEB)
    mesh.delete_service(API)
    mesh.service(API)
    present(mesh, API)
    assert list(rows._KNOWN[mesh.view]) == [API]
    view = weakref.ref(mesh.view)
    del mesh
    gc.collect()
    assert view() is None


def test_more_deletions_than_are_remembered() -> None:
    mesh = Mesh()
    mesh.service()
    mesh.endpoints(*(endpoint(n) for n in range(1100)))
    assert len(present(mesh)) == 1100
    for n in range(1050):
        mesh.delete_endpoint(f"e{n}")
    assert present(mesh) == sorted(f"e{n}" for n in range(1050, 1100))


def test_where_it_is_and_since_when() -> None:
    mesh = Mesh()
    mesh.service()
    mesh.endpoint(endpoint(1, addresses=["::FFFF:10.0.0.1"], check="grpc", region="r", zone="z", weight=0))
    (row,) = rows_of(mesh.view, mesh.view.services[WEB])
    assert row.where == ("::ffff:10.0.0.1", 80)
    assert row.place == ("r", "z")
    assert (row.weight, row.since) == (100, 0)
    mesh.clock.advance(3)
    mesh.health("e1", HealthState.HEALTH_STATE_SERVING)
    (row,) = rows_of(mesh.view, mesh.view.services[WEB])
    assert row.since == mesh.clock.time_ns()


STEPS = st.lists(
    st.tuples(
        st.sampled_from(["register", "delete", "drain", "service"]),
        st.integers(0, 3),
        st.sampled_from(["10.0.0.1", "10.0.0.2", "name"]),
        st.sampled_from([HELD, SUSPECT]),
        st.booleans(),
    ),
    max_size=20,
)


@settings(deadline=None)
@given(STEPS)
def test_rows_that_follow_are_those_of_a_new_reader(steps: list[tuple[str, int, str, str, bool]]) -> None:
    mesh = Mesh()
    mesh.service()
    for step, number, address, lease, look in steps:
        mesh.clock.advance(1)
        there = f"{WEB}/endpoints/e{number}" in mesh.view.services[WEB].endpoints
        if step == "register":
            mesh.endpoint(endpoint(number, addresses=[address]), lease=lease)
        elif step == "service":
            mesh.service()
        elif there:
            (mesh.delete_endpoint if step == "delete" else mesh.drain)(f"e{number}")
        if look:
            service = mesh.view.services[WEB]
            followed = rows_of(mesh.view, service)
            anew = Rows(service).present(mesh.view.revision)
            assert [(r.message, r.where, r.vouched, r.unvouched, r.draining, r.healthy) for r in followed] == [
                (r.message, r.where, r.vouched, r.unvouched, r.draining, r.healthy) for r in anew
            ]
