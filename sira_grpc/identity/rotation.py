"""Rotation of the root: from one authority to another in stages, each of which begins with one commit."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

from sira.identity.internal.v1.authority_record_pb2 import DomainRecord
from sira.identity.internal.v1.rotation_record_pb2 import RotationRecord
from sira.identity.v1.rotation_pb2 import Rotation, RotationStage

from sira_grpc.clock import Clock
from sira_grpc.commits import Commits
from sira_grpc.errors import Conflict, NoRotation, NotOwner, RotationUnderWay, StoreUnavailable
from sira_grpc.identity import names
from sira_grpc.identity.authority import Authority
from sira_grpc.identity.followers import Followers
from sira_grpc.identity.members import ROTATION, Members
from sira_grpc.identity.view import IdentityView, Stored
from sira_grpc.store.api import ABSENT, Delete, Op, Put
from sira_grpc.times import NANOS, timestamp

PUBLISHING = RotationStage.ROTATION_STAGE_PUBLISHING
ISSUING = RotationStage.ROTATION_STAGE_ISSUING
RETIRING = RotationStage.ROTATION_STAGE_RETIRING
RETRY_SECONDS = 0.5
MIN_LOOK_SECONDS = 0.05
"""Between two looks: when thousands follow at once, each of them is a reason to look, and a look counts them all."""
LOOK_SECONDS = 1.0
"""How often it is looked whether a stage may end, beyond the moments at which something that it waits for happened."""

log = logging.getLogger(__name__)


class Rotator:
    """Starts rotations, has them go on when everybody is ready, and turns them back.

    Whatever stage a member is killed in, the next one goes on from there: a stage is what the store says. Of several
    members one has them go on; commands may come to any.

    Args:
        view: of the store.
        commits: writes.
        followers: must follow.
        make_authority: makes the authority that is rotated to.
        clock: the time.
        min_stage: seconds that a stage lasts at least.
        members: which of them has rotations go on.
    """

    def __init__(
        self,
        view: IdentityView,
        commits: Commits,
        followers: Followers,
        make_authority: Callable[[], Awaitable[Authority]],
        clock: Clock,
        *,
        min_stage: float,
        members: Members,
    ) -> None:
        self._view = view
        self._commits = commits
        self._followers = followers
        self._make_authority = make_authority
        self._clock = clock
        self._min_stage_ns = round(min_stage * NANOS)
        self._members = members
        self._news = asyncio.Event()

    def look(self) -> None:
        """Has it looked soon whether a stage may end."""
        self._news.set()

    def describe(self) -> Rotation | None:
        """Returns how far the rotation has come; None if none is under way."""
        stored = self._view.rotation
        if stored is None:
            return None
        record = stored.value
        return Rotation(
            stage=record.stage,
            from_authority=record.from_authority,
            to_authority=record.to_authority,
            cancelled=record.cancelled,
            start_time=record.start_time,
            stage_time=record.stage_time,
            watchers_pending=self._followers.pending(stored.revision),
            certificates_pending=self._view.live.count(self._clock.time_ns(), record.from_authority),
            earliest_time=timestamp(self._earliest_ns(record)),
        )

    async def start(self, authority: Authority | None = None, *, guard: Callable[[], Sequence[Op]] = tuple) -> None:
        """Starts a rotation to a new authority.

        Args:
            authority: that is rotated to; None to have one made.
            guard: returns what goes with the commit.

        Raises:
            RotationUnderWay: one is under way.
        """
        self._refuse_second()
        made = authority or await self._make_authority()
        now = timestamp(self._clock.time_ns())

        def plan() -> list[Op]:
            self._refuse_second()
            domain = self._domain()
            record = RotationRecord(
                stage=PUBLISHING,
                from_authority=domain.value.issuing,
                to_authority=made.id,
                start_time=now,
                stage_time=now,
            )
            return [
                Put(names.authority_key(made.id), made.record.SerializeToString(), ABSENT),
                self._put_domain([*domain.value.trusted, made.id]),
                Put(names.ROTATION, record.SerializeToString(), ABSENT),
                *guard(),
            ]

        await self._commits.run(self._commits.apply(plan))
        log.info("a rotation of the root from %s to %s has begun", self._rotation().value.from_authority, made.id)
        self.look()

    async def advance(self, stage: RotationStage.ValueType) -> None:
        """Ends a stage without waiting.

        Raises:
            NoRotation: none is under way.
            RotationUnderWay: it is in another stage.
        """

        def plan() -> list[Op]:
            self._check_stage(stage)
            return self._next_stage()

        await self._commits.run(self._commits.apply(plan))
        log.warning("the stage %s of the rotation was ended by hand", RotationStage.Name(stage))
        self.look()

    async def cancel(self) -> None:
        """Turns the rotation back.

        What was never used goes at once. If the new authority has issued, the two change places: the stages that are
        left lead back, as carefully as they would have led on.

        Raises:
            NoRotation: none is under way.
        """
        await self._commits.run(self._commits.apply(self._turning_back))
        log.warning("the rotation of the root was turned back")
        self.look()

    async def run(self) -> None:
        """Has rotations go on for ever, while it is this member's to do; cancelled by its owner."""
        await self._members.run(ROTATION, self._run)

    async def _run(self) -> None:
        while True:
            self._news.clear()
            delay = self._pause()
            if self._ready():
                try:
                    await self._go_on()
                    continue
                except (StoreUnavailable, Conflict, NotOwner):
                    log.warning("the rotation of the root cannot go on; it is tried again", exc_info=True)
                    delay = RETRY_SECONDS
            with suppress(TimeoutError):  # and not wait_for(), which on Python 3.11 may swallow a cancellation
                async with asyncio.timeout(delay):
                    await self._news.wait()
            await asyncio.sleep(MIN_LOOK_SECONDS)

    def _pause(self) -> float | None:
        """Seconds until it is looked again, should nothing happen: when the stage may end, or now and then."""
        stored = self._view.rotation
        if stored is None:
            return None
        left = (self._earliest_ns(stored.value) - self._clock.time_ns()) / NANOS
        return min(left, LOOK_SECONDS) if left > 0 else LOOK_SECONDS

    def _earliest_ns(self, record: RotationRecord) -> int:
        """When the stage may end at the earliest."""
        return record.stage_time.ToNanoseconds() + self._min_stage_ns

    async def _go_on(self) -> None:
        stage = self._rotation().value.stage

        def plan() -> list[Op]:
            stored = self._view.rotation
            if stored is None or stored.value.stage != stage or not self._ready():
                return []
            return [*self._next_stage(), *self._members.guard(ROTATION)]

        await self._commits.apply(plan)
        log.info("the stage %s of the rotation is over", RotationStage.Name(stage))

    def _ready(self) -> bool:
        """Whether everybody has done what the stage is for."""
        stored = self._view.rotation
        if stored is None:
            return False
        record, now_ns = stored.value, self._clock.time_ns()
        if now_ns < self._earliest_ns(record):
            return False
        if self._followers.settling or self._followers.pending(stored.revision):
            return False
        return record.stage != ISSUING or not self._view.live.count(now_ns, record.from_authority)

    def _next_stage(self) -> list[Op]:
        """What ends the stage that it is in."""
        stored, domain = self._rotation(), self._domain()
        record = stored.value
        if record.stage == PUBLISHING:
            return [self._put_domain(domain.value.trusted, issuing=record.to_authority), self._put_stage(ISSUING)]
        if record.stage == ISSUING:
            kept = [authority for authority in domain.value.trusted if authority != record.from_authority]
            return [self._put_domain(kept), self._put_stage(RETIRING)]
        gone = self._view.authorities[record.from_authority]
        return [
            Delete(names.authority_key(record.from_authority), gone.revision),
            self._put_domain(domain.value.trusted, ended=True),
            Delete(names.ROTATION, stored.revision),
        ]

    def _turning_back(self) -> list[Op]:
        stored, domain = self._rotation(), self._domain()
        record = stored.value
        old, new = record.from_authority, record.to_authority
        if record.stage == PUBLISHING:  # and so the new one has issued nothing that still counts
            kept = [authority for authority in domain.value.trusted if authority != new]
            gone = self._view.authorities[new]
            return [
                Delete(names.authority_key(new), gone.revision),
                self._put_domain(kept, ended=True),
                Delete(names.ROTATION, stored.revision),
            ]
        if record.stage == RETIRING:
            # Who follows does not trust the old one any more: it is published again first, while the new one issues.
            return [self._put_domain([*domain.value.trusted, old]), self._put_stage(PUBLISHING, turned=True)]
        return [self._put_domain(domain.value.trusted, issuing=old), self._put_stage(ISSUING, turned=True)]

    def _put_domain(self, trusted: Sequence[str], *, issuing: str = "", ended: bool = False) -> Op:
        stored = self._domain()
        domain = DomainRecord()
        domain.CopyFrom(stored.value)
        if list(trusted) != list(domain.trusted):
            domain.trusted[:] = trusted
            domain.sequence += 1
        domain.issuing = issuing or domain.issuing
        if ended:
            domain.last_rotation_time.CopyFrom(timestamp(self._clock.time_ns()))
        return Put(names.DOMAIN, domain.SerializeToString(), stored.revision)

    def _put_stage(self, stage: RotationStage.ValueType, *, turned: bool = False) -> Op:
        stored = self._rotation()
        record = RotationRecord()
        record.CopyFrom(stored.value)
        if turned:
            record.from_authority, record.to_authority = record.to_authority, record.from_authority
            record.cancelled = not record.cancelled
        record.stage = stage
        record.stage_time.CopyFrom(timestamp(self._clock.time_ns()))
        return Put(names.ROTATION, record.SerializeToString(), stored.revision)

    def _domain(self) -> Stored[DomainRecord]:
        assert self._view.domain is not None, "it is founded before it is rotated"
        return self._view.domain

    def _rotation(self) -> Stored[RotationRecord]:
        if self._view.rotation is None:
            raise NoRotation("no rotation is under way")
        return self._view.rotation

    def _refuse_second(self) -> None:
        if self._view.rotation is not None:
            stage = RotationStage.Name(self._view.rotation.value.stage).removeprefix("ROTATION_STAGE_")
            raise RotationUnderWay(f"a rotation is under way, in the stage {stage}", metadata={"stage": stage})

    def _check_stage(self, stage: RotationStage.ValueType) -> None:
        found = self._rotation().value.stage
        if found != stage:
            name = RotationStage.Name(found).removeprefix("ROTATION_STAGE_")
            raise RotationUnderWay(f"stage: the rotation is in the stage {name}", metadata={"stage": name})
