"""Tokens that a client shows instead of a certificate."""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import Any

import grpc

from sira_client.errors import UnavailableError
from sira_client.settings import Settings
from sira_client.source import Source

Bearer = Callable[[], Awaitable[str]]
"""Gives a new token: a JWT-SVID, in its compact serialization."""

_SHORTEST_SECONDS = 1.0
"""How soon to ask for the next token, at the earliest."""


class BearerTokens(Source[str], grpc.AuthMetadataPlugin):
    """Asks for a token, and for the next one at half of its life. Each call sends the current one along.

    Args:
        fetch: gives a new token.
        settings: back-off and clock.
    """

    def __init__(self, fetch: Bearer, settings: Settings) -> None:
        super().__init__(timeout=0.0, settings=settings)
        self._fetch = fetch

    def __str__(self) -> str:
        """What it is called in messages."""
        return "the bearer"

    async def follow(self) -> AsyncGenerator[str, None]:
        """See Source.

        Raises:
            UnavailableError: there is no token to be had.
            ValueError: it is no JWT.
        """
        while True:
            try:
                token = await self._fetch()
            except Exception as error:  # whatever the function of the user raises
                raise UnavailableError(f"{self} gave no token: {error!r}") from error
            expires = expiry(token)
            yield token
            left = expires - self._settings.clock.time_ns() / 1e9
            await self._settings.clock.sleep(max(_SHORTEST_SECONDS, left / 2))

    def __call__(self, context: grpc.AuthMetadataContext, callback: grpc.AuthMetadataPluginCallback) -> None:
        """See grpc.AuthMetadataPlugin: on a thread of gRPC's, for each call."""
        callback((("authorization", f"Bearer {self.current}"),), None)


def expiry(token: str) -> float:
    """When a JWT expires, in Unix seconds. It is not verified.

    Raises:
        ValueError: it is no JWT, or does not say. The message does not repeat it.
    """
    parts = token.split(".")
    try:
        claims: Any = json.loads(base64.urlsafe_b64decode(parts[1] + "=" * (-len(parts[1]) % 4)))
        return float(claims["exp"])
    except (IndexError, KeyError, TypeError, ValueError, binascii.Error, RecursionError):
        raise ValueError("bearer: must give a JWT with an expiry, `exp`") from None
