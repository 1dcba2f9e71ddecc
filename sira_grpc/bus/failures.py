"""What becomes of a delivery that has failed: another one after a while, or the end."""

from __future__ import annotations

import random

from sira_grpc.bus.delivery import MAX_DELIVERIES, Dead, Retry, RetryRule


class Failures:
    """Judges the deliveries that fail in one operation.

    Those of the same attempt come back at the same moment, so that records that went together stay together.

    Args:
        delay: seconds until the next delivery; None means by the rule.
        detail: what the consumer said.
    """

    __slots__ = ("_delay", "_detail", "_dues", "_now", "_rng", "_rule")

    def __init__(
        self, rule: RetryRule, rng: random.Random, now: float, *, delay: float | None = None, detail: str = ""
    ) -> None:
        self._rule = rule
        self._rng = rng
        self._now = now
        self._delay = delay
        self._detail = detail
        self._dues: dict[int, float] = {}

    def judge(self, first: int, end: int, attempt: int, consumer: int) -> Retry | Dead:
        """Says what becomes of records whose delivery to a consumer has failed, it being the attempt-th."""
        if attempt >= self._rule.max_deliveries:
            return Dead(first, end, attempt, MAX_DELIVERIES, consumer, self._detail)
        due = self._dues.get(attempt)
        if due is None:
            delay = self._rule.delay(attempt, self._rng) if self._delay is None else self._delay
            due = self._dues[attempt] = self._now + delay
        return Retry(first, end, attempt, due)
