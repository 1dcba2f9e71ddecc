"""Identity's sizes and times, as metrics."""

from __future__ import annotations

from sira.identity.internal.v1.rotation_record_pb2 import RotationRecord

from sira_grpc.clock import Clock
from sira_grpc.identity.identity import Identity
from sira_grpc.identity.view import Stored
from sira_grpc.telemetry import Telemetry
from sira_grpc.times import NANOS


def expose(identity: Identity, telemetry: Telemetry, clock: Clock) -> None:
    """Has the exporters read how much was issued, and how near what expires is to its end."""
    gauge = telemetry.gauge
    gauge(
        "sira.identity.certificates.issued",
        lambda: identity.issuer.issued,
        unit="{certificate}",
        description="Certificates issued since the start.",
    )
    gauge(
        "sira.identity.certificates.recorded",
        lambda: len(identity.view.certificates),
        unit="{certificate}",
        description="Certificates that there is a record of.",
    )
    gauge(
        "sira.identity.watchers",
        lambda: len(identity.watchers),
        unit="{stream}",
        description="Open WatchTrustBundles streams.",
    )
    gauge(
        "sira.identity.rotation.stage",
        lambda: _stage(identity.view.rotation),
        description="Stage of the rotation: 0 none, 1 publishing, 2 issuing, 3 retiring.",
    )
    gauge(
        "sira.identity.root.expiry",
        lambda: identity.root_expiry - clock.time_ns() / NANOS,
        unit="s",
        description="Time until the root expires below which certificates are issued.",
    )
    gauge(
        "sira.identity.federation.failing",
        lambda: identity.federation.failing,
        unit="{trust_domain}",
        description="Trust domains whose bundle could not be refreshed the last time.",
    )


def _stage(rotation: Stored[RotationRecord] | None) -> int:
    return rotation.value.stage if rotation is not None else 0
