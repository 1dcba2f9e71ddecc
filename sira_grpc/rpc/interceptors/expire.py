"""Streams that outlive what their callers showed: ended once it has expired, was revoked, or its root is gone."""

from __future__ import annotations

import asyncio
import logging

from sira_grpc.errors import SiraError
from sira_grpc.identity.callers import CallerVerifier
from sira_grpc.rpc.call import Call
from sira_grpc.rpc.interceptors.authenticate import STAYS, AuthenticateSvids
from sira_grpc.rpc.interceptors.interceptor import Interceptor

LOOK_SECONDS = 1.0
AT_ONCE = 200
"""Streams that are looked at without a pause, some ms."""

log = logging.getLogger(__name__)


class Expire(Interceptor):
    """Keeps the streams of callers with an identity, and looks at each every second.

    Unary calls are left to their deadlines: they were begun while everything counted.

    Args:
        authenticate: finds out what a caller showed.
        verifier: knows what counts.
    """

    def __init__(self, authenticate: AuthenticateSvids, verifier: CallerVerifier) -> None:
        self._authenticate = authenticate
        self._verifier = verifier
        self._generation = verifier.generation
        self._streams: set[Call] = set()

    def enter(self, call: Call) -> None:
        """Keeps a stream."""
        if call.method.streams and call.credential is not None:
            self._streams.add(call)

    def exit(self, call: Call) -> None:
        """Forgets it."""
        self._streams.discard(call)

    async def run(self) -> None:
        """Looks for ever; cancelled by its owner."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> None:
        """Ends the streams whose callers show what does not count any more."""
        # Verifying anew what was shown costs ten times as much as a look, and is needed only when roots have changed.
        anew, self._generation = self._generation != self._verifier.generation, self._verifier.generation
        for number, call in enumerate(tuple(self._streams), start=1):
            if number % AT_ONCE == 0:
                await asyncio.sleep(0)
            if call.credential is None or call.ending is not None or call not in self._streams:
                continue
            try:
                if anew or call.method.service.startswith(STAYS):
                    self._authenticate.identify(call)
                else:
                    self._verifier.check(call.credential)
            except SiraError as error:
                log.info("a stream of %s is ended: %s", call.identity, error)
                call.end(error)
