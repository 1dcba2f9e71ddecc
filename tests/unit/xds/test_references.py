from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sira.registry.v1.route_pb2 import Destination, Mirror, Route, Split
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.xds.names import Target
from sira_grpc.xds.references import References, targets
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


def test_a_subset_is_there_from_the_first_reference_to_the_last() -> None:
    references = References()
    assert references.update(API, to(V1, V2), 2) == {V1, V2}
    assert references.update(API, to(V1, V2), 3) == frozenset()
    assert references.update(WEB, to(V1), 4) == {V1}
    assert set(references.subsets(WEB)) == {V1, V2}
    assert (references.since(V1), references.since(Target(WEB, "v3"))) == (2, 0)
    assert references.update(API, to(V2), 5) == {V1}
    assert references.since(V1) == 2
    assert references.update(WEB, None, 6) == {V1}
    assert references.subsets(WEB) == (V2,)
    assert references.since(V1) == 0
    assert references.update(API, to(V1), 7) == {V1, V2}
    assert references.since(V1) == 7
    assert references.made(API) == {V1}
    assert references.made(WEB) == frozenset()


def test_a_whole_service_is_no_subset() -> None:
    references = References()
    assert references.update(API, to(Target(WEB)), 2) == {Target(WEB)}
    assert references.subsets(WEB) == ()
    assert references.update(API, to(), 3) == {Target(WEB)}


@given(st.lists(st.tuples(st.sampled_from([WEB, API]), st.sets(st.sampled_from([V1, V2, Target(API, "v1")])))))
def test_what_is_referred_to_is_what_policies_say(steps: list[tuple[str, set[Target]]]) -> None:
    references = References()
    model: dict[str, set[Target]] = {}
    for generation, (service, found) in enumerate(steps, start=2):
        references.update(service, to(*found), generation)
        model[service] = found
        everything = set().union(*model.values())
        for name in (WEB, API):
            assert set(references.subsets(name)) == {target for target in everything if target.service == name}
        assert all(references.since(target) for target in everything)
    for service in model:
        references.update(service, None, 1000)
    assert not references.subsets(WEB)
    assert not references._counts
    assert not references._made
    assert not references._subsets
