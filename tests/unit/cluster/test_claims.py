"""The rules of a lock, against a model that knows nothing but lists."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from sira.cluster.internal.v1.lock_record_pb2 import LockClaim, LockRecord

from sira_grpc.cluster import claims
from sira_grpc.errors import LockCapacityDiffers

NOW = Timestamp(seconds=1)


@dataclass
class Model:
    """Who came when, in the order of their turns; who has it is worked out anew each time."""

    capacity: int
    granted: list[tuple[str, int]] = field(default_factory=list)
    queue: list[tuple[str, int]] = field(default_factory=list)

    def settle(self) -> list[str]:
        """Grants what has its turn, one after another, and returns whom."""
        new = []
        while self.queue and sum(n for _, n in self.granted) + self.queue[0][1] <= self.capacity:
            self.granted.append(self.queue.pop(0))
            new.append(self.granted[-1][0])
        return new


class Machine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.record: LockRecord | None = None
        self.model: Model | None = None
        self.tokens: dict[str, int] = {}
        self.highest = 0
        self.revision = 0
        self.count = 0

    def write(self, record: LockRecord | None) -> None:
        """One commit. Revisions may skip numbers; tokens must get along with those that do not."""
        self.revision += 1
        if record is not None:
            record = LockRecord.FromString(record.SerializeToString())
            claims.number(record, self.revision)
        self.record = record

    def granted(self, new: list[str]) -> None:
        """Those who were granted, in that order, have tokens above all that ever were."""
        assert self.record is not None
        tokens = {claim.id: claim.token for claim in self.record.holders}
        for claim in new:
            assert tokens[claim] > self.highest
            self.highest = self.tokens[claim] = tokens[claim]

    @rule(capacity=st.integers(1, 5), permits=st.integers(1, 5))
    def join(self, capacity: int, permits: int) -> None:
        capacity = self.model.capacity if self.model else capacity
        self.count += 1
        claim = LockClaim(id=str(self.count), permits=min(permits, capacity))
        self.write(claims.join(self.record, claim, capacity, NOW))
        self.model = self.model or Model(capacity)
        self.model.queue.append((claim.id, claim.permits))
        self.granted(self.model.settle())

    @precondition(lambda self: self.record is not None)
    @rule(data=st.data())
    def leave(self, data: st.DataObject) -> None:
        assert self.model is not None
        assert self.record is not None
        there = [claim for claim, _ in (*self.model.granted, *self.model.queue)]
        gone = data.draw(st.sets(st.sampled_from([*there, "unknown"])))
        self.write(claims.leave(self.record, gone, NOW))
        self.model.granted = [item for item in self.model.granted if item[0] not in gone]
        self.model.queue = [item for item in self.model.queue if item[0] not in gone]
        new = self.model.settle()
        if self.record is None:
            assert not self.model.granted
            self.model = None
        else:
            self.granted(new)

    @precondition(lambda self: self.record is not None)
    @rule(data=st.data(), value=st.binary(max_size=3))
    def change(self, data: st.DataObject, value: bytes) -> None:
        assert self.model is not None
        assert self.record is not None
        claim = data.draw(st.sampled_from([claim for claim, _ in (*self.model.granted, *self.model.queue)]))
        before = self.record.SerializeToString()
        moved = claims.proclaim(claims.move(self.record, {claim}, "b"), claim, value)
        assert self.record.SerializeToString() == before
        self.write(moved)
        (found,) = (c for c in (*self.record.holders, *self.record.waiters) if c.id == claim)
        assert (found.member, found.value) == ("b", value)

    @invariant()
    def is_as_the_model(self) -> None:
        assert (self.record is None) == (self.model is None)
        if self.record is None or self.model is None:
            return
        assert [(c.id, c.permits) for c in self.record.holders] == self.model.granted
        assert [(c.id, c.permits) for c in self.record.waiters] == self.model.queue
        assert all(c.token == self.tokens[c.id] and c.HasField("acquire_time") for c in self.record.holders)
        assert not any(c.token or c.HasField("acquire_time") for c in self.record.waiters)
        assert self.record.last_token == self.highest <= self.revision


Machine.TestCase.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestClaims = Machine.TestCase


def test_another_capacity_is_refused() -> None:
    record = claims.join(None, LockClaim(id="1", permits=1), 2, NOW)
    with pytest.raises(LockCapacityDiffers):
        claims.join(record, LockClaim(id="2", permits=1), 3, NOW)
