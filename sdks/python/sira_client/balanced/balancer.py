"""Routes each call of a balanced channel to an endpoint, following the service as it changes."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy

from sira_client.balanced.pool import Pool
from sira_client.balanced.subchannel import SubChannel
from sira_client.balancing import Candidate, Picker, make_picker, ramp_end_ns, select
from sira_client.dialing import Dial
from sira_client.errors import NotFoundError, SiraError, UnavailableError
from sira_client.first_of import drop
from sira_client.routing import CallInfo, Route
from sira_client.settings import Settings
from sira_client.source import Source
from sira_client.view import ServiceView

_log = logging.getLogger(__name__)

HashKey = Callable[[CallInfo], str]
Follow = Callable[[], AsyncIterator[ServiceView]]

HASH_KEY_HEADER = "sira-hash-key"
_RAMP_STEPS = 20
"""How often weights are computed anew within the window of a slow start."""


def hash_key_of_header(info: CallInfo) -> str:
    """The hash key that the caller sends along as metadata `sira-hash-key`; empty, for a random one, without it."""
    return next((str(value) for key, value in info.metadata if key == HASH_KEY_HEADER), "")


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        locality: where the caller is; None for unknown.
        client_id: for subsetting; empty for none.
        hash_key: the key of a call, for ring hash.
    """

    locality: Locality | None
    client_id: str
    hash_key: HashKey


class Balancer:
    """A router over the endpoints of one service.

    A call waits while the service has not been seen yet, or a connection is in the making. It fails at once, unless it
    would rather wait, when there is no healthy endpoint, or none can be reached.

    Args:
        service: resource name, for messages.
        follow: yields the service's states; ends with an error where the service is not there.
        caller: who calls.
        dial: opens connections.
        settings: of the client.
        renewed: when it changes, each connection is opened anew. None for never.
    """

    def __init__(
        self,
        service: str,
        follow: Follow,
        caller: Caller,
        dial: Dial,
        settings: Settings,
        renewed: Source[Any] | None = None,
    ) -> None:
        self._service = service
        self._follow = follow
        self._caller = caller
        self._settings = settings
        self._pool = Pool(dial, self._connections_changed)
        self._view: ServiceView | None = None
        self._problem: SiraError | None = None
        self._candidates: Sequence[Candidate] = ()
        self._live: Sequence[Candidate] = ()
        self._picker: Picker | None = None
        self._change = asyncio.Event()
        self._ramp: asyncio.TimerHandle | None = None
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._run())]
        if renewed is not None:
            self._tasks.append(loop.create_task(self._renew(renewed, renewed.current)))

    async def route(self, info: CallInfo, tried: Collection[Route]) -> Route | None:
        """See Router."""
        patience = asyncio.get_running_loop().time() + self._settings.default_timeout
        while True:
            change = self._change
            route = self._pick(info, tried)
            if route is not None:
                return route
            if not info.wait_for_ready and not self._in_sight(tried):
                if tried:
                    return None
                raise self._nobody()
            waits_for_view = self._view is None and not info.wait_for_ready
            try:
                async with asyncio.timeout_at(patience if waits_for_view else None):
                    await change.wait()
            except TimeoutError:
                raise self._nobody() from None

    @property
    def state(self) -> grpc.ChannelConnectivity:
        """READY when a call would find an endpoint; TRANSIENT_FAILURE when it would fail; else CONNECTING."""
        if self._picker is not None:
            return grpc.ChannelConnectivity.READY
        if self._in_sight(()):
            return grpc.ChannelConnectivity.CONNECTING
        return grpc.ChannelConnectivity.TRANSIENT_FAILURE

    async def changed(self) -> None:
        """Waits for the next change of anything that routing depends on."""
        await self._change.wait()

    async def close(self) -> None:
        """Stops following, and closes all connections."""
        if self._ramp is not None:
            self._ramp.cancel()
        await drop(*self._tasks)
        await self._pool.close()
        self._wake()

    def _pick(self, info: CallInfo, tried: Collection[Route]) -> SubChannel | None:
        picker = self._picker
        if picker is not None and tried:
            connected = self._connected()
            others = [c for c in connected if self._pool[c.endpoint.name] not in tried]
            # A call that would rather wait may go back to where it failed, once that is connected again.
            picker = self._picker_of(others or (connected if info.wait_for_ready else ()))
        if picker is None:
            return None
        return self._pool[picker.pick(self._caller.hash_key(info)).endpoint.name]

    def _in_sight(self, tried: Collection[Route]) -> bool:
        """Whether waiting may help: the service is not known yet, or a connection is in the making."""
        if self._view is None:
            return self._problem is None
        subchannels = (self._pool.get(c.endpoint.name) for c in self._candidates)
        return any(s is not None and not s.broken and s not in tried for s in subchannels)

    def _nobody(self) -> UnavailableError:
        if self._view is None:
            why = "the kernel has not told of it yet" if self._problem is None else self._problem.message
            return UnavailableError(f"{self._service}: {why}")
        if not self._candidates:
            return UnavailableError(f"{self._service}: none of its {len(self._view.endpoints)} endpoints is healthy")
        return UnavailableError(f"{self._service}: none of its healthy endpoints can be reached")

    async def _run(self) -> None:
        """Follows the service, and begins again when that fails: it may not be there yet."""
        backoff = self._settings.backoff()
        while True:
            try:
                async for view in self._follow():
                    backoff.reset()
                    self._view, self._problem = view, None
                    self._select()
            except SiraError as error:
                if self._problem is None:
                    _log.warning("cannot follow %s: %s", self._service, error)
                self._problem = error
                if isinstance(error, NotFoundError):
                    self._view, self._candidates = None, ()
                    self._pool.sync(())
                self._repick()
                await self._settings.clock.sleep(backoff.next(error.retry_after))

    async def _renew(self, renewed: Source[Any], known: object) -> None:
        while True:
            known = await renewed.changed(known)
            self._pool.renew()
            self._connections_changed()

    def _select(self) -> None:
        """Computes the candidates anew, and again later while a slow start goes on."""
        assert self._view is not None, "there is nothing to select from"
        policy, endpoints = self._policy(), list(self._view.endpoints.values())
        now = self._settings.clock.time_ns()
        self._candidates = select(
            endpoints, policy, locality=self._caller.locality, client_id=self._caller.client_id, now_ns=now
        )
        self._pool.sync(self._candidates)
        self._connections_changed()
        if self._ramp is not None:
            self._ramp.cancel()
            self._ramp = None
        if ramp_end_ns(endpoints, policy) > now:
            window = policy.slow_start.window.seconds + policy.slow_start.window.nanos / 1e9
            self._ramp = asyncio.get_running_loop().call_later(min(1.0, window / _RAMP_STEPS), self._select)

    def _connections_changed(self) -> None:
        """Goes by the connections as they are. Where all that should get calls are broken, the next tier stands by."""
        if self._all_broken(c for c in self._candidates if c.weight):
            for priority in sorted({c.priority for c in self._candidates if not c.weight}):
                standby = [c for c in self._candidates if c.priority == priority]
                for c in standby:
                    self._pool.connect(c.endpoint)
                if not self._all_broken(standby):
                    break
        self._repick()

    def _all_broken(self, candidates: Iterable[Candidate]) -> bool:
        subchannels = (self._pool.get(c.endpoint.name) for c in candidates)
        return all(s is not None and s.broken for s in subchannels)

    def _repick(self) -> None:
        live = self._connected()
        if len(live) != len(self._live) or any(a is not b for a, b in zip(live, self._live, strict=True)):
            # Only then: a new picker forgets whose turn it is.
            self._picker = self._picker_of(live)
            self._live = live
        self._wake()

    def _wake(self) -> None:
        change, self._change = self._change, asyncio.Event()
        change.set()

    def _connected(self) -> list[Candidate]:
        found = ((c, self._pool.get(c.endpoint.name)) for c in self._candidates)
        return [c for c, subchannel in found if subchannel is not None and subchannel.ready]

    def _picker_of(self, candidates: Sequence[Candidate]) -> Picker | None:
        if not candidates:
            return None
        return make_picker(candidates, self._policy(), random=self._settings.random, in_flight=self._pool.in_flight)

    def _policy(self) -> TrafficPolicy:
        return TrafficPolicy() if self._view is None else self._view.service.traffic_policy
