from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from sira.registry.v1.route_pb2 import Destination, Mirror
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_grpc.xds.names import Target
from sira_grpc.xds.references import References, targets
from sira_grpc.xds.transitions import LONGEST, WARM, Transitions
from tests.unit.xds.mesh import API, WEB
from tests.unit.xds.test_references import to

V1, V2, V3 = Target(WEB, "v1"), Target(WEB, "v2"), Target(WEB, "v3")


class Written:
    """Policies of services as they are written, with what they refer to."""

    def __init__(self) -> None:
        self.references = References()
        self.transitions = Transitions()
        self.now = 100.0
        self.generation = 0

    @property
    def waits(self) -> bool:
        return self.transitions.due is not None

    def write(self, policy: TrafficPolicy | None, service: str = WEB, *, told: bool = True) -> None:
        self.generation += 1
        added = self.references.update(service, policy, self.generation, self.now)
        self.transitions.update(service, policy, added, self.generation, self.now)
        if told:
            self.transitions.told(self.generation, self.now)


def test_a_policy_that_brings_a_cluster_takes_effect_once_that_is_warm() -> None:
    written = Written()
    plain = TrafficPolicy()
    written.write(plain)
    assert written.transitions.policy(WEB) is None, "nobody has routes of a service that was not there"
    written.write(to(V1))
    assert written.transitions.policy(WEB) is plain
    assert written.transitions.due == written.now + WARM
    assert written.transitions.take(written.now) == frozenset()
    assert written.transitions.take(written.now + WARM) == {WEB}
    assert written.transitions.policy(WEB) is None
    assert not written.waits


def test_it_counts_from_when_all_clients_were_told() -> None:
    written = Written()
    written.write(TrafficPolicy())
    written.write(to(V1), told=False)
    written.transitions.told(written.generation - 1, written.now)
    assert written.transitions.due == written.now + LONGEST
    written.now += 0.5
    written.transitions.told(written.generation, written.now)
    assert written.transitions.due == written.now + WARM
    assert written.transitions.take(written.now + WARM) == {WEB}


def test_it_does_not_wait_for_ever_to_be_told() -> None:
    written = Written()
    written.write(TrafficPolicy())
    written.write(to(V1), told=False)
    assert written.transitions.take(written.now + LONGEST - 0.01) == frozenset()
    assert written.transitions.take(written.now + LONGEST) == {WEB}
    assert not written.transitions._untold
    assert not written.transitions._cold


def test_what_was_mirrored_so_far_is_new_to_those_who_send_no_copies() -> None:
    written = Written()
    mirrored = TrafficPolicy(mirror=Mirror(destination=Destination(version="v1"), percent=1))
    written.write(mirrored)
    written.write(to(V1))
    assert written.transitions.policy(WEB) is mirrored
    assert written.transitions.due == written.now + WARM


def test_mirrors_that_stay_are_waited_for_once() -> None:
    written = Written()
    mirror = Mirror(destination=Destination(version="v1"), percent=1)
    written.write(TrafficPolicy(mirror=mirror))
    written.write(TrafficPolicy(mirror=mirror, subset_size=2))
    assert written.transitions.policy(WEB) is None


def test_one_that_brings_none_takes_effect_at_once() -> None:
    written = Written()
    written.write(to(V1, V2))
    for policy in (to(V2), to(V1), TrafficPolicy(subset_size=1), to(V1, V2, Target(WEB))):
        written.write(policy)
        assert written.transitions.policy(WEB) is None


def test_back_to_what_is_in_effect_takes_effect_at_once() -> None:
    written = Written()
    written.write(to(V1))
    written.write(to(V2))
    written.now += WARM / 2
    written.write(to(V1))
    assert written.transitions.policy(WEB) is None
    assert not written.waits
    written.write(to(V2))
    assert written.transitions.due == written.now + WARM / 2, "it is half warm by now"


def test_policies_that_keep_coming_take_effect_in_the_end() -> None:
    written = Written()
    plain = TrafficPolicy()
    written.write(plain)
    begun = written.now
    for number in range(20):
        written.write(to(Target(WEB, f"v{number}")))
        assert written.transitions.policy(WEB) is plain
        due = written.transitions.due
        assert due is not None
        assert due <= begun + LONGEST
        if due <= written.now + 0.1:
            break
        written.now += 0.1
    assert written.transitions.take(begun + LONGEST) == {WEB}


def test_services_do_not_wait_for_each_other() -> None:
    written = Written()
    for service in (WEB, API):
        written.write(TrafficPolicy(), service)
    written.write(to(V1))
    written.now += WARM / 2
    written.write(to(V1), API)
    assert written.transitions.policy(API) is not None
    assert written.transitions.take(written.now + WARM / 2) == {WEB}
    assert written.transitions.take(written.now + WARM) == {API}


def test_a_service_that_goes_takes_nothing_with_it() -> None:
    written = Written()
    written.write(TrafficPolicy())
    written.write(to(V1))
    written.write(None)
    assert written.transitions.policy(WEB) is None
    assert not written.waits
    assert written.transitions.take(written.now + WARM) == frozenset()
    assert not written.transitions._latest
    assert not written.transitions._cold


@given(st.lists(st.tuples(st.sets(st.sampled_from([V1, V2, V3])), st.sampled_from([0.0, 0.1, 0.3, 5.0, 11.0]))))
def test_calls_are_led_only_to_what_has_been_warm_for_long_enough(steps: list[tuple[set[Target], float]]) -> None:
    written = Written()
    written.write(TrafficPolicy())
    known: dict[Target, float] = {}
    for found, seconds in steps:
        written.now += seconds
        written.references.expire(written.now)
        written.transitions.take(written.now)
        written.write(to(*found))
        made = written.references.made(WEB)
        known = {target: known.get(target, written.now) for target in made}
        policy = written.transitions.policy(WEB)
        in_effect = found if policy is None else set(targets(WEB, policy))
        assert all(written.now - known[target] >= WARM for target in in_effect)


def test_what_is_new_again_holds_up_nobody_who_was_told() -> None:
    transitions = Transitions()
    new = frozenset({V1})
    for generation, service in enumerate((WEB, API, WEB, API, WEB), start=1):
        waits = generation > 2  # before, there was no policy that could stay in effect
        transitions.update(service, to(V1), new if waits else frozenset(), generation, 0.0)
    transitions.told(4, 0.0)
    assert transitions.take(WARM) == {API}
    assert transitions.take(LONGEST) == {WEB}
