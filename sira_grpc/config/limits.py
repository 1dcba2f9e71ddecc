"""The configuration of what one caller may use of the kernel."""

from __future__ import annotations

from sira_grpc.config.kinds import Count, CountOrOff, Section


class LimitsConfig(Section, frozen=True):
    """Limits for each caller: an identity, or the host where there is none."""

    max_streams_per_caller: Count = 20_000
    """Open streams, default 20,000."""
    max_calls_per_caller: Count = 5_000
    """Unary calls at the same time, default 5,000."""
    calls_per_second_per_caller: CountOrOff = 0
    """Calls begun a second, unary or streaming. Default 0: unlimited."""
    burst: CountOrOff = 0
    """Calls that may begin at once after a pause. Default 0: one second's worth of calls_per_second_per_caller."""

    @property
    def effective_burst(self) -> int:
        """The burst with its default filled in."""
        return self.burst or self.calls_per_second_per_caller
