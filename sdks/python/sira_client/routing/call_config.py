"""What a channel's policy says of one call: where it goes, how long it may take, and what comes in between.

Named after the part of gRPC that does the same, https://github.com/grpc/proposal/blob/master/A31-xds-timeout-support-and-config-selector.md
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc

from sira_client.routing.faults import Fault
from sira_client.routing.retries import Retries

if TYPE_CHECKING:
    from sira_client.routing.route import Route, Router

Answered = Callable[[grpc.aio.Metadata, "Route"], grpc.aio.Metadata]
"""Gets the initial metadata of an answer, and the route that it came by, and returns what the caller is to see."""


@dataclass(slots=True)
class CallConfig:
    """How one call is to be made.

    Attributes:
        router: chooses its routes.
        release: is called once when the call needs no more routes.
        sleep: waits for so many seconds.
        timeout: seconds that it may take from its beginning; None for no bound.
        fault: what is injected before it goes anywhere; None for nothing.
        retries: when it goes again; None for never.
        answered: adds to the initial metadata of its answer; None if nothing is to be added.
    """

    router: Router
    release: Callable[[], None]
    sleep: Callable[[float], Awaitable[None]]
    timeout: float | None = None
    fault: Fault | None = None
    retries: Retries | None = None
    answered: Answered | None = None
