"""What is told of a rotation."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from sira.identity.v1.rotation_pb2 import Rotation, RotationStage

from sira_grpc.cli.identity import rotation
from sira_grpc.cli.identity.rotation import Stage

NOW = datetime.fromtimestamp(1_700_000_000, UTC)
PUBLISHING, ISSUING = RotationStage.ROTATION_STAGE_PUBLISHING, RotationStage.ROTATION_STAGE_ISSUING


@pytest.mark.parametrize(
    ("stage", "watchers", "certificates", "seconds", "told"),
    [
        (PUBLISHING, 0, 5, 0, "is about to go on"),
        (PUBLISHING, 2, 5, 0, "waits for 2 watchers"),
        (ISSUING, 1, 5, 0, "waits for 1 watcher and 5 certificates"),
        (ISSUING, 0, 1, 10, "waits for 1 certificate, goes on at 22:13:30 UTC at the earliest"),
        (PUBLISHING, 0, 0, 10, "goes on at 22:13:30 UTC at the earliest"),
    ],
)
def test_what_it_waits_for(
    stage: RotationStage.ValueType, watchers: int, certificates: int, seconds: int, told: str
) -> None:
    made = Rotation(
        stage=stage,
        watchers_pending=watchers,
        certificates_pending=certificates,
        earliest_time=Timestamp(seconds=1_700_000_000 + seconds),
    )
    assert rotation.waits(made, NOW) == told


def test_a_line_says_how_far_it_has_come() -> None:
    made = Rotation(stage=ISSUING, from_authority="a", to_authority="b", cancelled=True)
    assert rotation.line(made, NOW) == "ISSUING from a to b, turned back; is about to go on"


def test_every_stage_can_be_advanced() -> None:
    numbers = {RotationStage.Value(f"ROTATION_STAGE_{stage.name}") for stage in Stage}
    assert numbers == {*RotationStage.values()} - {RotationStage.ROTATION_STAGE_UNSPECIFIED}
