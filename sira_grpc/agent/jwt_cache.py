"""JWT-SVIDs that were issued, kept until half of their lives are over."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from sira.identity.v1.identity_service_pb2 import IssueJwtResponse
from sira_client.clock import Clock

from sira_grpc.agent.trust import Trust
from sira_grpc.svid.spiffe_id import SpiffeId

MAX_TOKENS = 1024
"""Tokens that are kept; the oldest goes first."""

IssueJwt = Callable[[SpiffeId, Sequence[str]], Awaitable[IssueJwtResponse]]
"""Has the kernel issue a JWT-SVID. Raises Refused or Unready."""


class JwtCache:
    """Has tokens issued, and hands a young one out again.

    Args:
        issue: see IssueJwt.
        clock: time.
    """

    def __init__(self, issue: IssueJwt, clock: Clock) -> None:
        self._issue = issue
        self._clock = clock
        self._tokens: dict[tuple[SpiffeId, tuple[str, ...]], tuple[str, float]] = {}
        self._trust: Trust | None = None

    async def token(self, identity: SpiffeId, audiences: Sequence[str], trust: Trust) -> str:
        """Returns a token.

        Args:
            identity: whom it is for.
            audiences: whom it is to be shown to, without repetition.
            trust: that is lived by now; with another one, a key or what is revoked may be another: all are dropped.

        Raises:
            Refused, Unready.
        """
        if trust is not self._trust:
            self._tokens.clear()
            self._trust = trust
        key = (identity, tuple(sorted(audiences)))
        token, until = self._tokens.get(key, ("", 0.0))
        if self._clock.time_ns() / 1e9 < until:
            return token
        response = await self._issue(identity, audiences)
        begin = response.issue_time.seconds + response.issue_time.nanos / 1e9
        end = response.expire_time.seconds + response.expire_time.nanos / 1e9
        if trust is self._trust:
            self._tokens.pop(key, None)
            self._tokens[key] = (response.token, (begin + end) / 2)
            while len(self._tokens) > MAX_TOKENS:
                del self._tokens[next(iter(self._tokens))]
        return response.token
