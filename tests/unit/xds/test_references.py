from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira.registry.v1.route_pb2 import Destination, Mirror, Route, Split
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.xds.names import Target
from sira_grpc.xds.references import LINGER, References, targets
from tests.unit.xds.mesh import API, WEB

V1, V2 = Target(WEB, "v1"), Target(WEB, "v2")


def to(*found: Target) -> TrafficPolicy:
    splits = [
        Split(weight=1, destination=Destination(service=t.service, version=t.version, metadata=dict(t.labels)))
        for t in found
    ]
    return TrafficPolicy(routes=[Route(splits=splits)] if splits else [])


def test_targets_of_splits_and_mirrors() -> None:
    policy = to(V1, Target(API))
    policy.routes[0].splits.add(weight=1)  # to the service itself
    policy.routes[0].mirror.CopyFrom(Mirror(destination=Destination(version="v3"), percent=1))
    policy.mirror.CopyFrom(Mirror(destination=Destination(metadata={"b": "2", "a": "1"}), percent=1))
    assert set(targets(API, policy)) == {
        V1,
        Target(API),
        Target(API, "v3"),
        Target(API, labels=(("a", "1"), ("b", "2"))),
    }


def test_a_subset_is_there_from_the_first_reference_until_the_last_has_lingered() -> None:
    references = References()
    assert references.update(API, to(V1, V2), 2, 0.0) == {V1, V2}
    assert references.update(API, to(V1, V2), 3, 1.0) == frozenset()
    assert references.update(WEB, to(V1), 4, 2.0) == {V1}
    assert set(references.subsets(WEB)) == {V1, V2}
    assert (references.since(V1), references.since(Target(WEB, "v3"))) == (2, 0)
    assert references.due is None
    assert references.update(API, to(V2), 5, 3.0) == frozenset()
    assert references.update(WEB, None, 6, 4.0) == frozenset()
    assert references.made(API) == {V1, V2}
    assert references.lingering(API) == {V1}
    assert references.due == 3.0 + LINGER
    assert references.expire(2.9 + LINGER) == set()
    assert references.expire(3.0 + LINGER) == {(API, V1)}
    assert references.made(API) == {V2}
    assert references.made(WEB) == {V1}
    assert references.since(V1) == 2
    assert references.expire(4.0 + LINGER) == {(WEB, V1)}
    assert references.subsets(WEB) == (V2,)
    assert references.since(V1) == 0
    assert references.due is None
    assert references.update(API, to(V1), 7, 20.0) == {V1}
    assert references.since(V1) == 7
    assert references.made(WEB) == frozenset()


def test_what_is_referred_to_again_in_time_was_never_gone() -> None:
    references = References()
    references.update(API, to(V1), 2, 0.0)
    references.update(API, to(V2), 3, 1.0)
    assert references.update(API, to(V1), 4, 2.0) == frozenset()
    assert references.since(V1) == 2
    assert references.lingering(API) == {V2}
    assert references.expire(2.0 + LINGER) == {(API, V2)}
    assert references.made(API) == {V1}


def test_the_oldest_goes_first_where_too_much_lingers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sira_grpc.xds.references.MAX_LINGERING", 2)
    references = References()
    for number in range(4):
        references.update(API, to(Target(WEB, f"v{number}")), 2 + number, float(number))
    assert references.due == 0.0
    assert references.expire(4.0) == {(API, Target(WEB, "v0"))}
    assert references.due == 2.0 + LINGER
    assert references.lingering(API) == {Target(WEB, "v1"), Target(WEB, "v2")}


def test_a_whole_service_is_no_subset_and_lingers_as_one() -> None:
    references = References()
    assert references.update(API, to(Target(WEB)), 2, 0.0) == {Target(WEB)}
    assert references.subsets(WEB) == ()
    assert references.referrers(WEB) == {API}
    assert references.update(API, to(), 3, 1.0) == frozenset()
    assert references.made(API) == {Target(WEB)}
    assert references.referrers(WEB) == {API}
    assert references.expire(1.0 + LINGER) == {(API, Target(WEB))}
    assert not references.made(API)
    assert not references.referrers(WEB)


@given(
    st.lists(
        st.tuples(
            st.sampled_from([WEB, API]),
            st.sets(st.sampled_from([V1, V2, Target(API, "v1")])),
            st.sampled_from([0, 4, 11]),
        )
    )
)
def test_what_is_referred_to_is_what_policies_say_or_did_lately(steps: list[tuple[str, set[Target], int]]) -> None:
    references = References()
    model: dict[str, set[Target]] = {}
    until: dict[tuple[str, Target], float] = {}
    now = 0.0
    for generation, (service, found, seconds) in enumerate(steps, start=2):
        now += seconds
        references.expire(now)
        references.update(service, to(*found), generation, now)
        until.update({(service, target): now + LINGER for target in model.get(service, set()) - found})
        model[service] = found
        lingering = {(s, t) for (s, t), at in until.items() if at > now and t not in model[s]}
        there = set().union(*model.values()) | {target for _, target in lingering}
        for name in (WEB, API):
            assert set(references.subsets(name)) == {target for target in there if target.service == name}
            assert references.lingering(name) == {target for s, target in lingering if s == name}
            assert references.made(name) == model.get(name, set()) | references.lingering(name)
            led = {s for s, ts in model.items() if any(t.service == name for t in ts)}
            assert references.referrers(name) == led | {s for s, t in lingering if t.service == name}
        assert all(references.since(target) for target in there)
    for service in model:
        references.update(service, None, 1000, now)
    references.expire(now + LINGER)
    kept = (references._counts, references._made, references._left, references._until)
    assert not any((*kept, references._subsets, references._referrers))
