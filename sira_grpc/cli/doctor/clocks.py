"""The clock of this host beside that of the kernel: certificates are valid by the clock of who looks at them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

from sira_grpc.cli.doctor.findings import Finding, note, warning
from sira_grpc.cli.durations import brief
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.session import Session

SKEW_SECONDS = 30.0
"""What is worth a warning. The kernel's certificates bear 300 s by default."""


def inspect(session: Session) -> Iterator[Finding]:
    """Yields by how much the clocks differ, as far as the kernel of a context takes calls and issues a token.

    What it says of its time is when a token was issued, which says it to the second.
    """
    from sira.identity.v1.identity_service_pb2 import IssueJwtRequest

    request = IssueJwtRequest(audiences=["sira doctor"])
    request.ttl.FromSeconds(10)
    try:
        _ = session.credentials
    except Failure:
        return  # what is wrong with them has been found already
    began = time.time()
    try:
        issued = session.call(session.identity.IssueJwt, request).issue_time.seconds
    except Failure as problem:
        yield note(session.context.addr, str(problem), "the kernel's clock was not looked at")
        return
    ended = time.time()
    # The kernel's time was in [issued, issued + 1) at some moment between the two.
    skew = max(issued - ended, began - (issued + 1), 0.0)
    if skew > SKEW_SECONDS:
        behind = "behind" if issued > ended else "ahead of"
        span = brief(timedelta(seconds=skew))
        yield warning("this host", f"its clock is {span} {behind} that of {session.context.addr}", "have NTP set both")
