from __future__ import annotations

import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.v1.load_pb2 import EndpointLoad
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.resolver_service_pb2 import ResolveRequest
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import LbPolicy, LocalityFailover, SlowStart, TrafficPolicy

from sira_grpc.errors import NamespaceNotFound, ServiceNotFound
from sira_grpc.registry import resolve
from tests.unit.registry.world import NOT_SERVING, SERVICE, SERVING, World, endpoint


async def policy(world: World, given: TrafficPolicy) -> None:
    mask = FieldMask(paths=["traffic_policy"])
    await world.registry.catalog.update_service(Service(name=SERVICE, traffic_policy=given), mask, actor="")


def order(world: World, **fields: object) -> list[str]:
    request = ResolveRequest(service=SERVICE)
    for name, value in fields.items():
        if isinstance(value, Locality):
            request.locality.CopyFrom(value)
        else:
            setattr(request, name, value)
    return [e.name.rpartition("/")[2] for e in world.registry.resolver.resolve(request).endpoints]


async def test_unknown_and_empty_are_different_answers(world: World) -> None:
    with pytest.raises(NamespaceNotFound):
        world.resolve("namespaces/x/services/s")
    with pytest.raises(ServiceNotFound):
        world.resolve()
    await world.service()
    empty = world.resolve()
    assert (len(empty.endpoints), empty.registered, empty.revision) == (0, 0, world.store.revision)
    await world.register(endpoint("a", check="ttl"))
    assert (len(world.resolve().endpoints), world.resolve().registered) == (0, 1)


async def test_all_that_a_caller_needs(world: World) -> None:
    given = endpoint("a", port=8080)
    given.locality.region = "eu"
    given.metadata["k"] = "v"
    given.addresses.append("10.0.0.1")
    await world.register(given)
    answer = world.resolve()
    (found,) = answer.endpoints
    assert (found.name, found.addresses, found.port) == (given.name, given.addresses, 8080)
    assert (found.locality, dict(found.metadata), found.state) == (given.locality, {"k": "v"}, SERVING)
    assert found.weight > 0
    assert answer.lb_policy == LbPolicy.LB_POLICY_ROUND_ROBIN


async def test_each_takes_its_turn(world: World) -> None:
    await world.register(*(endpoint(i) for i in "abc"))
    firsts = [order(world)[0] for _ in range(6)]
    assert firsts[:3] == firsts[3:]
    assert set(firsts) == {"a", "b", "c"}


async def test_a_change_is_seen_at_once(world: World) -> None:
    key = await world.register(endpoint("a"))
    assert world.resolved() == {"a"}
    other = await world.register(endpoint("b"))
    assert world.resolved() == {"a", "b"}
    await world.registry.keeper.revoke(key, "", actor="")
    assert world.resolved() == {"b"}
    world.registry.keeper.lost(await world.registry.keeper.attach(other, actor=""), actor="")
    await world.register(endpoint("c"))
    await world.settled()
    assert world.resolved() == {"c"}


async def test_of_a_service_that_was_created_anew_nothing_old_is_answered(world: World) -> None:
    for id_ in ("old", "new"):
        await world.service()
        await world.register(endpoint(id_))
        assert world.resolved() == {id_}
        await world.registry.catalog.delete_service(SERVICE, etag="", force=True, actor="")
        with pytest.raises(ServiceNotFound):
            world.resolve()


async def test_those_that_are_not_healthy_come_last_and_only_if_asked_for(world: World) -> None:
    await world.register(endpoint("c"), endpoint("b"), endpoint("a", check="ttl"))
    await world.registry.drainer.drain([f"{SERVICE}/endpoints/b"], locality=None, patience=0, cause="", actor="")
    suspect = await world.register(endpoint("d"))
    world.registry.keeper.lost(await world.registry.keeper.attach(suspect, actor=""), actor="")
    await world.settled()
    assert world.resolved() == {"c"}
    answer = world.resolve(include_unhealthy=True).endpoints
    # The suspect is SERVING, as far as it is known: before those that are not.
    assert [e.name.rpartition("/")[2] for e in answer] == ["c", "d", "a", "b"]
    assert [e.weight > 0 for e in answer] == [True, False, False, False]


async def test_a_limit_takes_the_first(world: World) -> None:
    await world.register(*(endpoint(i) for i in "abcd"))
    assert len(order(world, limit=2)) == 2
    assert len(order(world, limit=9)) == 4
    assert len(order(world)) == 4


async def test_near_ones_first(world: World) -> None:
    near, far = endpoint("near"), endpoint("far")
    near.locality.region, far.locality.region = "eu", "us"
    await world.register(near, far)
    await policy(world, TrafficPolicy(locality_failover=LocalityFailover()))
    for region, first in (("eu", "near"), ("us", "far")):
        request = ResolveRequest(service=SERVICE, locality=Locality(region=region))
        answer = world.registry.resolver.resolve(request).endpoints
        assert answer[0].name.endswith(first)
        assert [e.weight > 0 for e in answer] == [True, False]
        assert [e.priority for e in answer] == [1, 2]


async def test_the_same_key_and_the_same_client_get_the_same(world: World) -> None:
    await world.register(*(endpoint(f"e{i}") for i in range(9)))
    await policy(world, TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_RING_HASH, subset_size=3))
    assert len({tuple(order(world, hash_key="k")) for _ in range(5)}) == 1
    assert len({tuple(order(world)) for _ in range(9)}) > 1
    mine = {tuple(sorted(order(world, client_id="me"))) for _ in range(5)}
    assert len(mine) == 1
    assert len(next(iter(mine))) == 3
    assert len({tuple(sorted(order(world, client_id=str(i)))) for i in range(9)}) > 1


async def test_the_least_loaded_first(world: World) -> None:
    key = await world.register(*(endpoint(i) for i in "abc"))
    await policy(world, TrafficPolicy(lb_policy=LbPolicy.LB_POLICY_LEAST_REQUEST))
    reports = [
        EndpointLoad(name=f"{SERVICE}/endpoints/{i}", in_flight=n) for i, n in zip("abc", (5, 1, 3), strict=True)
    ]
    world.registry.load_reporter(key).report(reports)
    assert order(world) == ["b", "c", "a"]


async def test_slow_start_moves_the_weights_as_time_goes_on(world: World) -> None:
    await world.register(endpoint("old"))
    ramp = SlowStart(min_weight_share=0.1)
    ramp.window.FromSeconds(100)
    await policy(world, TrafficPolicy(slow_start=ramp))
    world.clock.advance(1000)
    await world.register(endpoint("new"))

    def shares() -> float:
        weights = {e.name.rpartition("/")[2]: e.weight for e in world.resolve().endpoints}
        return weights["new"] / weights["old"]

    assert shares() == pytest.approx(0.1)
    world.clock.advance(50)
    assert shares() == pytest.approx(0.5)
    world.clock.advance(50)
    assert shares() == 1
    kept = len(world.registry.resolver._selections)
    world.clock.advance(1000)
    assert (shares(), len(world.registry.resolver._selections)) == (1, kept)


async def test_what_is_kept_is_bounded(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "KEPT_CANDIDATES", 40)
    await world.register(*(endpoint(f"e{i}") for i in range(9)))
    resolver = world.registry.resolver
    for i in range(20):  # of no consequence for this policy
        assert len(order(world, client_id=str(i), locality=Locality(region=str(i)))) == 9
    assert len(resolver._selections) == 1
    await policy(world, TrafficPolicy(subset_size=5))
    for _ in range(2):
        for i in range(50):
            assert len(order(world, client_id=str(i))) == 5
    assert len(resolver._selections) == 40 // 6
    assert resolver._kept == sum(s.size for s in resolver._selections.values()) <= 40
    await policy(world, TrafficPolicy(subset_size=50))
    monkeypatch.setattr(resolve, "KEPT_CANDIDATES", 2)
    assert len(order(world, client_id="one too large to keep with others")) == 9
    assert len(resolver._selections) == 1


async def test_what_is_not_serving_is_not_answered(world: World) -> None:
    await world.register(endpoint("a", check="ttl"), endpoint("b"))
    name = f"{SERVICE}/endpoints/a"
    for state, resolved in ((SERVING, {"a", "b"}), (NOT_SERVING, {"b"})):
        world.registry._checks.heard(name, state, "told")
        await world.settled()
        assert world.resolved() == resolved
