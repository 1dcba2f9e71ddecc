"""Rotation against a model of it that fits on a page: whatever is done, and wherever the kernel is restarted."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Coroutine
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from sira_grpc.config import IdentityConfig
from sira_grpc.errors import CredentialExpired, CredentialInvalid, CredentialRevoked, NoRotation, RotationUnderWay
from tests.clocks import NANOS, FakeClock
from tests.unit.identity.world import (
    DOMAIN,
    ISSUING,
    MIN_STAGE,
    PUBLISHING,
    RETIRING,
    WATCHERS_BACK,
    WEB,
    Held,
    Stage,
    Watching,
    World,
)

T = TypeVar("T")
PICK = st.integers(0, 5)
STAGES = st.sampled_from([PUBLISHING, ISSUING, RETIRING])
MOSTLY = st.integers(0, 9).map(bool)


@dataclass
class ModelRotation:
    """A rotation as it should be."""

    stage: Stage
    old: str
    new: str
    since_ns: int
    revision: int


@dataclass
class ModelHolder:
    """Somebody with a certificate. distrusted: the root was taken away by force, or while it should have renewed."""

    held: Held
    counts: bool = True
    revoked: bool = False


@dataclass
class Model:
    """The trust state as it should be."""

    trusted: list[str] = field(default_factory=list)
    issuing: str = ""
    rotation: ModelRotation | None = None
    back_at: float = 0.0
    holders: list[ModelHolder] = field(default_factory=list)

    def live(self, authority: str, now_ns: int) -> bool:
        return any(
            holder.counts
            and holder.held.record.authority == authority
            and holder.held.record.expire_time.ToNanoseconds() > now_ns
            for holder in self.holders
        )


class RotationMachine(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory()
        self._runner = asyncio.Runner()
        self._clock = FakeClock()
        folder = Path(self._folder.name)
        config = IdentityConfig(dir=str(folder / "identity"), trust_domain=DOMAIN)
        self._world = World(folder, self._clock, config)
        self._model = Model()
        self._watching: dict[Watching, int] = {}

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._runner.run(work)

    @initialize()
    def found(self) -> None:
        self.run(self._world.start())
        self._model.trusted, self._model.issuing = [self._world.issuing], self._world.issuing

    def teardown(self) -> None:
        try:
            self.everybody_follows()
            assert len(self._world.identity.view.authorities) == 1
        finally:
            self.run(self._world.stop())
            self._runner.close()
            self._folder.cleanup()

    # What the model says.

    def ready(self) -> bool:
        rotation, now_ns = self._model.rotation, self._clock.time_ns()
        return (
            rotation is not None
            and now_ns >= rotation.since_ns + MIN_STAGE * NANOS
            and self._clock.monotonic() >= self._model.back_at
            and all(known >= rotation.revision for known in self._watching.values())
            and not (rotation.stage == ISSUING and self._model.live(rotation.old, now_ns))
        )

    def next_stage(self) -> None:
        rotation = self._model.rotation
        assert rotation is not None
        if rotation.stage == RETIRING:
            self._model.rotation = None
        elif rotation.stage == ISSUING:
            self._model.trusted.remove(rotation.old)
            self.enter(RETIRING)
        else:
            self._model.issuing = rotation.new
            self.enter(ISSUING)

    def turn_back(self) -> None:
        model, rotation = self._model, self._model.rotation
        assert rotation is not None
        if rotation.stage == PUBLISHING:
            model.trusted.remove(rotation.new)
            model.rotation = None
            return
        rotation.old, rotation.new = rotation.new, rotation.old
        if rotation.stage == RETIRING:
            model.trusted.append(rotation.new)
            self.enter(PUBLISHING)
        else:
            model.issuing = rotation.new
            self.enter(ISSUING)

    def enter(self, stage: Stage) -> None:
        rotation = self._model.rotation
        assert rotation is not None
        rotation.stage, rotation.since_ns = stage, self._clock.time_ns()
        rotation.revision = 1 << 62  # until the world says which

    # What is done.

    @precondition(lambda self: self._model.rotation is None)
    @rule()
    def start_where_there_is_none(self) -> None:
        self.start()

    @rule()
    def start(self) -> None:
        if self._model.rotation is not None:
            self.refused(self._world.identity.rotator.start(), RotationUnderWay)
            return
        self.run(self._world.identity.rotator.start())
        (new,) = set(self._world.identity.view.authorities) - set(self._model.trusted)
        self._model.rotation = ModelRotation(PUBLISHING, self._model.issuing, new, self._clock.time_ns(), 1 << 62)
        self._model.trusted.append(new)
        self.settle()

    @rule(stage=STAGES, right=MOSTLY)
    def advance(self, stage: Stage, *, right: bool) -> None:
        if right and self._model.rotation is not None:
            stage = self._model.rotation.stage
        command = self._world.identity.rotator.advance(stage)
        if self._model.rotation is None:
            self.refused(command, NoRotation)
        elif self._model.rotation.stage != stage:
            self.refused(command, RotationUnderWay)
        else:
            self.run(command)
            self.next_stage()
            self.settle()

    @precondition(lambda self: self._model.rotation is not None)
    @rule()
    def cancel_what_is_there(self) -> None:
        self.cancel()

    @rule()
    def cancel(self) -> None:
        if self._model.rotation is None:
            self.refused(self._world.identity.rotator.cancel(), NoRotation)
            return
        self.run(self._world.identity.rotator.cancel())
        self.turn_back()
        self.settle()

    @precondition(lambda self: len(self._model.holders) < 6)
    @rule()
    def join(self) -> None:
        self._model.holders.append(ModelHolder(self.run(self._world.join())))
        self.settle()

    @rule(number=PICK)
    def renew(self, number: int) -> None:
        for holder in self.picked(number):
            self.renewed(holder)
        self.settle()

    @rule(number=PICK)
    def revoke(self, number: int) -> None:
        for holder in self.picked(number):
            self.run(self._world.identity.records.revoke_serial(holder.held.serial, cause="", actor=""))
            holder.counts, holder.revoked = False, True
        self.settle()

    @rule()
    def revoke_everybody(self) -> None:
        self.run(self._world.identity.records.revoke_identity(WEB, cause="", actor=""))
        for holder in self._model.holders:
            holder.counts, holder.revoked = False, True
        self.passes(0.001)  # who joins from now on is somebody else

    @precondition(lambda self: len(self._watching) < 4)
    @rule()
    def watch(self) -> None:
        self._watching[self._world.watch()] = 0

    @rule(number=PICK)
    def follow(self, number: int) -> None:
        for watching in list(self._watching)[number : number + 1]:
            self.use(watching)
        self.settle()

    @rule(number=PICK)
    def leave(self, number: int) -> None:
        for watching in list(self._watching)[number : number + 1]:
            del self._watching[watching]
            self.run(watching.leave())
        self.settle()

    @rule(seconds=st.sampled_from([1, WATCHERS_BACK, MIN_STAGE, 2000]))
    def wait(self, seconds: int) -> None:
        self.passes(seconds)

    @rule()
    def restart(self) -> None:
        self.run(self._world.restart())
        self._watching.clear()
        if self._model.rotation is not None:
            self._model.back_at = self._clock.monotonic() + 5
        self.settle()

    @rule()
    def everybody_follows(self) -> None:
        """Whatever happened: a rotation ends once everybody has acknowledged and renewed."""
        for _ in range(5):
            for watching in self._watching:
                self.use(watching)
            for holder in self._model.holders:
                self.renewed(holder)
            self.passes(MIN_STAGE + WATCHERS_BACK)
        assert self._model.rotation is None

    # How it is done.

    def picked(self, number: int) -> list[ModelHolder]:
        return self._model.holders[number : number + 1]

    def renewed(self, holder: ModelHolder) -> None:
        """Has a holder renew, or join anew where what it shows does not count any more."""
        try:
            held = self.run(self._world.renew(holder.held))
        except (CredentialExpired, CredentialRevoked, CredentialInvalid):
            assert not self.stands(holder)
            # As an operator would: what it lost must not hold the rotation up.
            self.run(self._world.identity.records.revoke_serial(holder.held.serial, cause="", actor=""))
            held = self.run(self._world.join())
        holder.held, holder.counts, holder.revoked = held, True, False

    def use(self, watching: Watching) -> None:
        while self._watching[watching] < self._world.identity.trust.revision:
            self._watching[watching] = self.run(watching.use()).revision

    def refused(self, work: Coroutine[Any, Any, object], error: type[Exception]) -> None:
        view = self._world.identity.view
        before = view.domain, view.rotation
        try:
            self.run(work)
        except error:
            assert (view.domain, view.rotation) == before
        else:
            raise AssertionError(f"not refused: {error}")

    def passes(self, seconds: float) -> None:
        """Lets time pass, once the kernel has done what it should: or it could enter a stage before or after that."""
        self.settle()
        self._clock.advance(seconds)
        self.settle()

    def settle(self) -> None:
        """Has the kernel do by itself what it should do by itself now; it may have gone on already."""
        while True:
            self.run(self._own_renewed())
            rotation, stored = self._model.rotation, self._world.identity.view.rotation
            if rotation is not None and stored is not None and stored.value.stage == rotation.stage:
                rotation.revision = stored.revision
            if not self.ready():
                assert self._world.stage == (rotation.stage if rotation is not None else None)
                assert not self._world.identity.rotator._ready()
                return
            assert rotation is not None
            following = {PUBLISHING: ISSUING, ISSUING: RETIRING, RETIRING: None}[rotation.stage]
            self.run(self._gone_on(following))
            self.next_stage()

    async def _gone_on(self, stage: Stage | None) -> None:
        self._world.identity.rotator.look()
        await self._world.until(lambda: self._world.stage == stage)

    async def _own_renewed(self) -> None:
        """Waits until what the kernel holds itself is of the authority that issues, or has expired."""
        view, now_ns = self._world.identity.view, self._clock.time_ns()
        own = [str(certificate.identity) for certificate in self._world.identity._own]

        def renewed() -> bool:
            held = [view.certificates[serial].value for identity in own for serial in view.by_identity[identity]]
            return all(
                one.authority == self._world.issuing
                or one.superseded_by
                or one.HasField("revoke_time")
                or one.expire_time.ToNanoseconds() <= now_ns
                for one in held
            )

        await self._world.until(renewed)

    def stands(self, holder: ModelHolder) -> bool:
        """Whether a holder's certificate must be good for calls."""
        expired = holder.held.record.expire_time.ToNanoseconds() < self._clock.time_ns()
        return not expired and not holder.revoked and holder.held.record.authority in self._model.trusted

    # What holds always.

    @invariant()
    def it_is_as_the_model_says(self) -> None:
        model, world = self._model, self._world
        assert world.trusted == model.trusted
        assert world.issuing == model.issuing
        assert world.stage == (model.rotation.stage if model.rotation else None)
        known = {*model.trusted, *([model.rotation.old, model.rotation.new] if model.rotation else [])}
        assert set(world.identity.view.authorities) == known

    @invariant()
    def one_issues_that_is_trusted_and_the_bundle_is_never_empty(self) -> None:
        status = self._world.identity.status()
        issuing = [authority.id for authority in status.authorities if authority.state == 2]
        assert issuing == [self._world.issuing]
        assert self._world.issuing in self._world.trusted
        assert len(self._world.identity.trust.bundle().x509_authorities) == len(self._world.trusted) > 0

    @invariant()
    def every_certificate_is_good_whose_root_is_trusted(self) -> None:
        for holder in self._model.holders:
            try:
                self._world.caller(holder.held)
            except (CredentialExpired, CredentialRevoked, CredentialInvalid):
                assert not self.stands(holder)
            else:
                assert self.stands(holder)


RotationMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=35, deadline=None)
TestRotationMachine = RotationMachine.TestCase
