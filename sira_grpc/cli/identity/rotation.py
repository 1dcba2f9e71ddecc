"""`sira identity rotate`, `advance` and `cancel`: from one root to another, stage by stage."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sira_grpc.cli.commands import connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Format, say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.identity.v1.authority_service_pb2 import IdentityStatus
    from sira.identity.v1.rotation_pb2 import Rotation

LOOK_SECONDS = 0.5
"""How often a rotation that is waited for is looked at."""
TROUBLE_SECONDS = 30.0
"""How long the kernel may be out of reach meanwhile: its certificate, and that of the caller, become others."""
_PREFIX = "ROTATION_STAGE_"
_PASSING = {ExitCode.UNAVAILABLE, ExitCode.REFUSED, ExitCode.DEADLINE}


class Stage(StrEnum):
    """What `advance` takes."""

    PUBLISHING = "publishing"
    ISSUING = "issuing"
    RETIRING = "retiring"


def line(rotation: Rotation, now: datetime | None = None) -> str:
    """How far a rotation has come, and what it waits for."""
    turned = ", turned back" if rotation.cancelled else ""
    return (
        f"{_stage(rotation)} from {rotation.from_authority} to {rotation.to_authority}{turned}; {waits(rotation, now)}"
    )


def waits(rotation: Rotation, now: datetime | None = None) -> str:
    """What a rotation waits for before it goes on to its next stage."""
    counts = [(rotation.watchers_pending, "watcher")]
    if _stage(rotation) == "ISSUING":
        counts.append((rotation.certificates_pending, "certificate"))
    pending = [f"{count} {noun}{'' if count == 1 else 's'}" for count, noun in counts if count]
    earliest = rotation.earliest_time.ToDatetime(UTC)
    told = [f"waits for {' and '.join(pending)}"] if pending else []
    if earliest > (now or datetime.now(UTC)):
        told.append(f"goes on at {earliest:%H:%M:%S} UTC at the earliest")
    return ", ".join(told) or "is about to go on"


@connected
def rotate(
    session: Session,
    wait: Annotated[
        bool, typer.Option("--wait", help="Tell each stage, until it is over; for at most --timeout, if that is given.")
    ] = False,
) -> None:
    """Replace the root: nobody loses a call, as long as each stage waits for everybody.

    Join tokens that were made before are of no use once the new root issues: they name the old one. With --wait, ends
    in exit code 7 if it is not over in time; it goes on all the same.
    """
    from sira.identity.v1.authority_service_pb2 import StartRotationRequest

    answer = session.call(session.authority.StartRotation, StartRotationRequest())
    if wait:
        _follow(session, answer.rotation)
    else:
        _print(session, answer)


@connected
def advance(session: Session, stage: Annotated[Stage, typer.Argument(help="The stage that it is in now.")]) -> None:
    """End a stage without waiting. Who has not followed by then fails to connect."""
    from sira.identity.v1.authority_service_pb2 import AdvanceRotationRequest
    from sira.identity.v1.rotation_pb2 import RotationStage

    request = AdvanceRotationRequest(stage=RotationStage.Value(f"{_PREFIX}{stage.name}"))
    _print(session, session.call(session.authority.AdvanceRotation, request))


@connected
def cancel(session: Session) -> None:
    """Turn a rotation back: the old root stays. It goes through the stages that are needed for it."""
    from sira.identity.v1.authority_service_pb2 import CancelRotationRequest

    _print(session, session.call(session.authority.CancelRotation, CancelRotationRequest()))


def _print(session: Session, answer: Any) -> None:
    """Prints an answer that holds a rotation, or none where that was its end."""
    if session.printer.format is not Format.TABLE:
        session.printer.one(answer, ())
    elif answer.HasField("rotation"):
        print(line(answer.rotation))
    else:
        print("the rotation is over")


def _follow(session: Session, rotation: Rotation) -> None:
    """Tells each stage once, and what it waits for as that changes, until the rotation is over."""
    began, wanted = time.monotonic(), rotation.to_authority
    limit = None if session.patience is None else began + session.patience
    told, waited_for = (0, False), ""
    status = None
    while rotation.start_time.seconds:
        if (rotation.stage, rotation.cancelled) != told:
            told = (rotation.stage, rotation.cancelled)
            session.printer.next(rotation, lambda rotation=rotation: [line(rotation)])  # type: ignore[misc]  # bound
        elif waits(rotation) != waited_for:
            say(waits(rotation))
        waited_for = waits(rotation)
        if limit is not None and time.monotonic() > limit:
            span = f"{session.patience:g} s"
            raise Failure(f"not over within {span}: {line(rotation)}; it goes on", ExitCode.DEADLINE)
        time.sleep(LOOK_SECONDS)
        status = _look(session)
        rotation = status.rotation
    issuing = _issuing(status) if status is not None else wanted
    if issuing != wanted:
        raise Failure(f"the rotation was turned back: {issuing} issues, not {wanted}", ExitCode.CONFLICT)
    say(f"the rotation is over after {time.monotonic() - began:.0f} s: {issuing} issues")


def _look(session: Session) -> IdentityStatus:
    """How identity is, by a new connection each time: what either side shows changes with the rotation."""
    from sira.identity.v1.authority_service_pb2 import GetIdentityStatusRequest

    until = time.monotonic() + TROUBLE_SECONDS
    while True:
        session.disconnect()
        try:
            return session.call(session.authority.GetIdentityStatus, GetIdentityStatusRequest()).status
        except Failure as failure:
            if failure.code not in _PASSING or time.monotonic() > until:
                raise
        time.sleep(LOOK_SECONDS)


def _issuing(status: IdentityStatus) -> str:
    from sira.identity.v1.authority_pb2 import AuthorityState

    state = AuthorityState.AUTHORITY_STATE_ISSUING
    return next((authority.id for authority in status.authorities if authority.state == state), "")


def _stage(rotation: Rotation) -> str:
    from sira.identity.v1.rotation_pb2 import RotationStage

    return RotationStage.Name(rotation.stage).removeprefix(_PREFIX)
