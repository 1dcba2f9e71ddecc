"""The health checks of every endpoint: who is probed, who reports by itself, and what became of it."""

from __future__ import annotations

from collections.abc import Callable
from random import Random

from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthState

from sira_grpc.clock import Clock
from sira_grpc.registry.health_probing import ProbedChecks
from sira_grpc.registry.health_schedule import CallLater, loop_call_later
from sira_grpc.registry.health_ttl import TtlChecks
from sira_grpc.registry.probe_api import Prober, ProbeResult


class HealthChecks:
    """Checks every endpoint that it is given, by the kind of its check. Called from the event loop; cheap.

    Args:
        prober: asks the endpoints. Not closed here.
        report: called from the event loop when the settled state of an endpoint changes, with its name and the answer
            that changed it. It must not raise; it may call back.
        random: spreads the probes.
        max_concurrent: probes under way at once, at most.
        max_per_second: probes started in a second, at most. Where the checks ask for more, intervals stretch.
        call_later: sets a timer; the event loop's own by default.
    """

    def __init__(
        self,
        prober: Prober,
        report: Callable[[str, ProbeResult], None],
        *,
        clock: Clock,
        random: Random,
        max_concurrent: int,
        max_per_second: int = 1000,
        call_later: CallLater = loop_call_later,
    ) -> None:
        self._checked: dict[str, bytes] = {}
        self._ttl = TtlChecks(report, clock=clock, call_later=call_later)
        self._probed = ProbedChecks(
            prober,
            report,
            clock=clock,
            random=random,
            call_later=call_later,
            max_concurrent=max_concurrent,
            max_per_second=max_per_second,
        )

    def __len__(self) -> int:
        """Endpoints that are checked."""
        return len(self._checked)

    def __contains__(self, name: object) -> bool:
        """Whether an endpoint of that name is checked."""
        return name in self._checked

    def set(self, endpoint: Endpoint, *, soon: bool = False) -> None:
        """Begins to check an endpoint, going on from its `status.state`; one without a check is checked no more.

        Where the registration, address, port and check are what they were, checking goes on as it is and the state
        handed in is ignored.
        The first probe is at once, unless the name is new here and its state known, as after a restart of the kernel;
        with `soon`, then too.
        """
        checked = _what_is_checked(endpoint)
        written = checked.SerializeToString(deterministic=True)
        before = self._checked.get(endpoint.name)
        if before == written:
            return
        self.remove(endpoint.name)
        kind = checked.health_check.WhichOneof("kind")
        if kind is None:
            return
        self._checked[endpoint.name] = written
        if kind == "ttl":
            self._ttl.set(checked, endpoint.status.state)
        else:
            self._probed.set(checked, endpoint.status.state, at_once=soon or before is not None)

    def remove(self, name: str) -> None:
        """Checks an endpoint no more. An unknown name is no error."""
        if self._checked.pop(name, None) is not None:
            self._ttl.remove(name)
            self._probed.remove(name)

    def probe_now(self, name: str) -> None:
        """Probes a suspect before all others; if that fails, it counts at once, whatever the `fall` threshold.

        Nothing happens where there is nothing to probe: an unknown name, or a TTL check.
        """
        self._probed.probe_now(name)

    def heard(self, name: str, state: HealthState.ValueType, cause: str) -> None:
        """Takes the report of an endpoint with a TTL check; it is good for one TTL from now.

        Raises:
            NoTtlCheck: there is no TTL check of that name.
        """
        self._ttl.heard(name, state, cause)

    async def close(self) -> None:
        """Ends all checking and waits for it to end. Nothing is reported any more."""
        self._checked.clear()
        self._ttl.close()
        await self._probed.close()


def _what_is_checked(endpoint: Endpoint) -> Endpoint:
    """Returns a copy of what a check depends on."""
    return Endpoint(
        name=endpoint.name,
        addresses=endpoint.addresses[:1],
        port=endpoint.port,
        health_check=endpoint.health_check,
        # Of another registration under that name nothing is known yet, even where it looks the same.
        create_time=endpoint.create_time if endpoint.HasField("create_time") else None,
    )
