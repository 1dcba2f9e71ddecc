from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthState

from sira_grpc.errors import (
    EndpointNotFound,
    LeaseNotFound,
    NamespaceNotFound,
    RevisionCompacted,
    ServiceNotFound,
)
from sira_grpc.registry import names
from sira_grpc.registry.view import RegistryView
from sira_grpc.store import Commit, Delete, Put
from sira_grpc.watch import ChangeFeed
from tests.clocks import FakeClock
from tests.unit.registry.history import NAMESPACE, History, endpoint_name, service_name

SERVING = HealthState.HEALTH_STATE_SERVING
NOT_SERVING = HealthState.HEALTH_STATE_NOT_SERVING


def state_of(view: RegistryView) -> dict[str, Any]:
    """All that a reader can see of a view."""
    return {
        "revision": view.revision,
        "namespaces": {n: (e.message, e.revision, e.services) for n, e in view.namespaces.items()},
        "services": {n: (e.message, e.revision, e.healthy, e.feed.revision) for n, e in view.services.items()},
        "endpoints": {e.message.name: (e.message, e.lease, e.revision, e.healthy) for e in view.endpoints()},
        "leases": {n: (e.record, e.revision, e.endpoints) for n, e in view.leases.items()},
        "suspects": view.suspects,
    }


Readers = dict[int, dict[str, dict[str, Endpoint]]]


@dataclass
class Live:
    """A view that applies every commit, and what its readers knew at each revision."""

    view: RegistryView = field(default_factory=lambda: RegistryView(FakeClock()))
    known: Readers = field(default_factory=dict)

    def apply(self, commit: Commit) -> None:
        self.view.apply(commit)
        self.known[commit.revision] = {name: messages(self.view, name) for name in self.view.services}


def messages(view: RegistryView, service: str) -> dict[str, Endpoint]:
    found = {}
    for name, entry in view.services[service].endpoints.items():
        found[name] = Endpoint()
        found[name].CopyFrom(entry.message)
    return found


def loaded(history: History, *, compacted: int = 0) -> RegistryView:
    view = RegistryView(FakeClock())
    view.load(history.snapshot(), compacted=compacted)
    return view


def resumed(feed: ChangeFeed, start: int, known: dict[str, Endpoint], now: dict[str, Endpoint]) -> dict[str, Endpoint]:
    """What a reader has who knew something at a revision, and resumes from there."""
    result = dict(known)
    for item in feed.since(start):
        if item in now:
            result[item] = now[item]
        else:
            result.pop(item, None)
    return result


NUMBER = st.integers(0, 1)
STATE = st.sampled_from([SERVING, NOT_SERVING])
ACTIONS: list[st.SearchStrategy[Callable[[History], None]]] = [
    st.builds(lambda s: lambda h: h.put_service(s), NUMBER),
    st.builds(lambda s: lambda h: h.delete_service(s), NUMBER),
    st.builds(lambda n, suspect: lambda h: h.put_lease(n, suspect=suspect), NUMBER, st.booleans()),
    st.builds(lambda n: lambda h: h.delete_lease(n), NUMBER),
    *[
        st.builds(
            lambda s, e, n, again, check: lambda h: h.put_endpoint(s, e, n, again=again, check=check),
            NUMBER,
            NUMBER,
            NUMBER,
            st.booleans(),
            st.booleans(),
        )
    ]
    * 2,
    st.builds(lambda s, e, w: lambda h: h.delete_endpoint(s, e, with_records=w), NUMBER, NUMBER, st.booleans()),
    st.builds(lambda s, e, state: lambda h: h.put_health(s, e, state), NUMBER, NUMBER, STATE),
    st.builds(lambda s, e: lambda h: h.put_drain(s, e), NUMBER, NUMBER),
    st.builds(lambda s, e: lambda h: h.delete_drain(s, e), NUMBER, NUMBER),
]


@settings(max_examples=200)
@given(st.lists(st.one_of(ACTIONS), max_size=25))
def test_a_view_from_a_snapshot_is_the_one_that_applied_every_commit(actions: list[Callable[[History], None]]) -> None:
    live = Live()
    history = History(live.apply)
    history.put_lease(0, suspect=False)
    history.put_service(0)
    for action in actions:
        action(history)
    view = loaded(history)
    expected, got = state_of(live.view), state_of(view)
    # A live feed may know of changes whose traces a snapshot does not have: only what readers have seen counts.
    for name in got["services"]:
        assert got["services"][name][3] <= expected["services"][name][3]
        got["services"][name] = got["services"][name][:3]
        expected["services"][name] = expected["services"][name][:3]
    assert got == expected
    assert set(view.orphans) <= set(live.view.orphans)
    for either in (live.view, view):
        for name, service in either.services.items():
            now = messages(either, name)
            for start in range(service.feed.compacted, history.revision + 1):
                if start:
                    known = live.known[start].get(name, {})
                    assert resumed(service.feed, start, known, now) == now, (name, start, either is view)


@pytest.fixture
def live() -> Live:
    return Live()


@pytest.fixture
def history(live: Live) -> History:
    made = History(live.apply)
    made.put_service(0)
    made.put_lease(0, suspect=False)
    made.put_endpoint(0, 0, 0, again=False, check=True)
    return made


def entry_of(view: RegistryView) -> Endpoint:
    return view.endpoint(endpoint_name(0, 0)).message


def test_the_state_comes_from_the_registration_the_check_the_drain_and_the_lease(live: Live, history: History) -> None:
    assert entry_of(live.view).status.state == HealthState.HEALTH_STATE_STARTING
    history.put_health(0, 0, SERVING)
    status = entry_of(live.view).status
    assert (status.state, status.suspect, status.HasField("serving_time")) == (SERVING, False, True)
    assert live.view.services[service_name(0)].healthy == 1
    history.put_lease(0, suspect=True)
    assert entry_of(live.view).status.suspect
    assert live.view.services[service_name(0)].healthy == 0
    assert live.view.suspects == {"l0"}
    history.put_drain(0, 0)
    assert entry_of(live.view).status.state == HealthState.HEALTH_STATE_DRAINING
    history.delete_drain(0, 0)
    history.put_lease(0, suspect=False)
    assert live.view.services[service_name(0)].healthy == 1
    history.put_health(0, 0, NOT_SERVING)
    status = entry_of(live.view).status
    assert (status.state, status.HasField("serving_time")) == (NOT_SERVING, False)


def test_records_of_an_earlier_registration_are_void(live: Live, history: History) -> None:
    history.put_health(0, 0, SERVING)
    history.put_drain(0, 0)
    history.put_endpoint(0, 0, 0, again=False, check=True)
    assert entry_of(live.view).status.state == HealthState.HEALTH_STATE_STARTING


def test_what_a_check_has_found_is_void_once_there_is_no_check(live: Live, history: History) -> None:
    history.put_health(0, 0, NOT_SERVING)
    history.put_endpoint(0, 0, 0, again=True, check=False)
    assert entry_of(live.view).status.state == SERVING


def test_what_hangs_on_nothing_is_an_orphan(live: Live, history: History) -> None:
    path = names.endpoint_path(endpoint_name(0, 0))
    history.put_health(0, 0, SERVING)
    history.put_drain(0, 0)
    history.delete_endpoint(0, 0, with_records=False)
    assert set(live.view.orphans) == {names.HEALTH + path, names.DRAINS + path}
    assert loaded(history).orphans == live.view.orphans
    history.put_endpoint(0, 0, 0, again=False, check=True)
    history.put_health(0, 0, SERVING)
    assert set(live.view.orphans) == {names.DRAINS + path}  # the other is of this registration
    history.commit([Delete(names.DRAINS + path)])
    assert not live.view.orphans


def test_an_endpoint_without_its_lease_is_an_orphan(live: Live, history: History) -> None:
    key = names.ENDPOINTS + names.endpoint_path(endpoint_name(0, 0))
    history.put_lease(0, suspect=True)
    history.commit([Delete(f"{names.LEASES}l0")])
    assert live.view.orphans == {key: history.entries[key].revision} == loaded(history).orphans
    assert not entry_of(live.view).status.suspect
    history.put_lease(0, suspect=False)
    history.put_endpoint(0, 0, 0, again=True, check=False)
    assert not live.view.orphans
    history.commit([Put(key, history.entries[key].value.replace(b"leases/l0", b"leases/l9"))])
    assert live.view.orphans == {key: history.revision}


def test_an_endpoint_without_its_service_is_an_orphan(live: Live, history: History) -> None:
    gone: list[str] = []
    live.view.hooks.endpoint_gone.append(gone.append)
    key = names.ENDPOINTS + names.endpoint_path(endpoint_name(0, 0))
    history.commit([Delete(names.service_key(service_name(0)))])
    assert gone == [endpoint_name(0, 0)]
    assert set(live.view.orphans) == {key} == set(loaded(history).orphans)
    assert live.view.leases["l0"].endpoints == set()
    history.commit([Put(key, history.entries[key].value)])
    assert live.view.orphans == {key: history.revision}
    history.commit([Delete(key)])
    assert not live.view.orphans


def test_hooks_are_told_of_what_changes(live: Live, history: History) -> None:
    told: list[tuple[str, str]] = []
    hooks = live.view.hooks
    hooks.endpoint_written.append(lambda e: told.append(("written", e.message.version)))
    hooks.endpoint_gone.append(lambda name: told.append(("gone", name)))
    hooks.health_written.append(lambda e: told.append(("health", e.message.name)))
    hooks.lease_suspect.append(lambda e: told.append(("suspect", e.id)))
    hooks.lease_gone.append(lambda lease: told.append(("lease gone", lease)))
    history.put_health(0, 0, SERVING)
    history.put_lease(0, suspect=True)
    history.put_lease(0, suspect=False)
    history.put_endpoint(0, 0, 0, again=True, check=True)
    history.delete_lease(0)
    name = endpoint_name(0, 0)
    assert told == [("health", name), ("suspect", "l0"), ("written", "7"), ("gone", name), ("lease gone", "l0")]


def test_a_service_that_was_created_anew_has_another_generation(live: Live, history: History) -> None:
    before = live.view.services[service_name(0)].generation
    history.delete_service(0)
    history.put_service(0)
    for endpoint in (0, 1):
        history.put_endpoint(0, endpoint, 0, again=False, check=False)
        assert live.view.services[service_name(0)].generation > before


def test_who_knew_the_service_before_it_was_created_anew_must_begin_again(live: Live, history: History) -> None:
    before = history.revision
    feed = live.view.services[service_name(0)].feed
    history.delete_service(0)
    assert feed.closed
    history.put_service(0)
    with pytest.raises(RevisionCompacted):
        next(live.view.services[service_name(0)].feed.since(before), None)


def test_who_knew_the_service_before_the_history_was_compacted_must_begin_again(history: History) -> None:
    view = loaded(history, compacted=2)
    feed = view.services[service_name(0)].feed
    assert next(feed.since(2)) == endpoint_name(0, 0)
    with pytest.raises(RevisionCompacted):
        next(feed.since(1))


def test_kinds_that_a_newer_member_writes_are_ignored(live: Live, history: History) -> None:
    history.commit([Put("registry/novelties/n", b"?")])
    assert live.view.revision == history.revision
    assert state_of(loaded(history)) == state_of(live.view)


def test_what_is_not_there_is_named_by_the_first_part_that_is_not_there(live: Live, history: History) -> None:
    view = live.view
    with pytest.raises(NamespaceNotFound, match="namespaces/x is not there"):
        view.endpoint("namespaces/x/services/s/endpoints/e")
    with pytest.raises(ServiceNotFound, match=f"{NAMESPACE}/services/x is not there"):
        view.endpoint(f"{NAMESPACE}/services/x/endpoints/e")
    with pytest.raises(EndpointNotFound, match=endpoint_name(0, 9)):
        view.endpoint(endpoint_name(0, 9))
    with pytest.raises(LeaseNotFound, match="leases/x is not there"):
        view.lease("x")
    assert view.find_endpoint(endpoint_name(0, 9)) is None
    assert view.find_endpoint(f"{NAMESPACE}/services/x/endpoints/e") is None
    assert view.lease("l0").id == "l0"
    assert view.namespace(NAMESPACE).services == {service_name(0)}
    history.commit([Delete(names.namespace_key(NAMESPACE))])
    with pytest.raises(NamespaceNotFound):
        view.namespace(NAMESPACE)
