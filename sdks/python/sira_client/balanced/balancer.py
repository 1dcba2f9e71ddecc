"""Routes each call to a target to an endpoint, following the service as it changes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass

import grpc
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HEALTH_STATE_DRAINING
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.traffic_policy_pb2 import LB_POLICY_RING_HASH, TrafficPolicy

from sira_client.balanced.backend import Backend
from sira_client.balanced.breakers import Breaker
from sira_client.balanced.hash_key import HashKey
from sira_client.balanced.observer import Observer
from sira_client.balanced.pool import Pool
from sira_client.balanced.session import address_of
from sira_client.balancing import Candidate, Picker, make_picker, ramp_end_ns, select
from sira_client.balancing.target import Target
from sira_client.durations import seconds
from sira_client.errors import UnavailableError
from sira_client.routing import CallInfo, Route
from sira_client.settings import Settings

_RAMP_STEPS = 20
"""How often weights are computed anew within the window of a slow start."""
_NO_POLICY = TrafficPolicy()


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
    """A router over the endpoints of one target.

    A call waits while the service has not been seen yet, or a connection is in the making. It fails at once, unless it
    would rather wait, when there is no healthy endpoint, or none can be reached.

    Args:
        target: a service or some of its endpoints.
        backend: follows that service.
        caller: who calls.
        settings: of the client.
        breaker: counts the calls of this client to the target.
        changed: called when anything changes that routing depends on; must not block.
    """

    def __init__(
        self,
        target: Target,
        backend: Backend,
        caller: Caller,
        settings: Settings,
        breaker: Breaker,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self.target = target
        self.backend = backend
        self._caller = caller
        self._settings = settings
        self._observer = Observer(breaker, settings, self._spread_anew)
        self._changed = changed
        self._sticky = False
        self._homes: dict[str, Endpoint] = {}
        self._draining: list[Candidate] = []
        self._candidates: Sequence[Candidate] = ()
        self._live: Sequence[Candidate] = ()
        self._picker: Picker | None = None
        self._hashes = False
        self._change = asyncio.Event()
        self._ramp: asyncio.TimerHandle | None = None
        backend.attach(self)
        self._reselect()

    async def known(self, info: CallInfo) -> None:
        """Waits until the service is known, as long as a call would.

        Raises:
            UnavailableError: it is not.
        """
        patience = asyncio.get_running_loop().time() + self._settings.default_timeout
        while self.backend.view is None:
            if self.backend.problem is not None and not info.wait_for_ready:
                raise self._nobody()
            await self._next_change(None if info.wait_for_ready else patience)

    async def route(self, info: CallInfo, tried: Collection[Route]) -> Route | None:
        """See Router."""
        patience = None
        while True:
            change = self._change
            route = self._pick(info, tried)
            if route is not None:
                return route
            if not info.wait_for_ready and not self._in_sight(tried):
                if tried:
                    return None
                raise self._nobody()
            if self.backend.view is None and not info.wait_for_ready:
                if patience is None:
                    patience = asyncio.get_running_loop().time() + self._settings.default_timeout
                await self._next_change(patience)
            else:
                await change.wait()

    async def route_to(self, address: str, info: CallInfo, tried: Collection[Route]) -> Route | None:
        """Routes a call to the endpoint at an address, waiting for its connection; to any if it is not to be had."""
        while True:
            change = self._change
            endpoint = self._homes.get(address)
            if endpoint is None or endpoint.name in self._observer.ejected:
                return await self.route(info, tried)
            self._pool.connect(endpoint)
            subchannel = self._pool[endpoint.name]
            if subchannel.broken or self._observer.lane(subchannel) in tried:
                return await self.route(info, tried)
            if subchannel.ready:
                return self._observer.admit(subchannel)
            await change.wait()

    def endpoint(self, route: Route) -> Endpoint | None:
        """The endpoint that a route of this balancer leads to, if it is still registered."""
        name: str = getattr(route, "name", "")
        return None if self.backend.view is None else self.backend.view.endpoints.get(name)

    @property
    def state(self) -> grpc.ChannelConnectivity:
        """READY when a call would find an endpoint; TRANSIENT_FAILURE when it would fail; else CONNECTING."""
        if self._picker is not None:
            return grpc.ChannelConnectivity.READY
        if self._in_sight(()):
            return grpc.ChannelConnectivity.CONNECTING
        return grpc.ChannelConnectivity.TRANSIENT_FAILURE

    def keep_sessions(self, sticky: bool) -> None:
        """Says whether calls may ask for the endpoint of their session, also while that drains."""
        if sticky is not self._sticky:
            self._sticky = sticky
            self._reselect()

    async def changed(self) -> None:
        """Waits for the next change of anything that routing depends on."""
        await self._change.wait()

    def close(self) -> None:
        """Lets the endpoints go. Calls that look for one fail."""
        self._stop_ramp()
        self._picker, self._candidates, self._draining, self._homes = None, (), [], {}
        self.backend.detach(self)
        self._observer.close()
        self._wake()

    @property
    def wanted(self) -> Sequence[Candidate]:
        """See Follower."""
        return [*self._candidates, *self._draining] if self._draining else self._candidates

    @property
    def _pool(self) -> Pool:
        return self.backend.pool

    @property
    def _policy(self) -> TrafficPolicy:
        return _NO_POLICY if self.backend.view is None else self.backend.view.service.traffic_policy

    def _pick(self, info: CallInfo, tried: Collection[Route]) -> Route | None:
        picker = self._picker
        if picker is not None and tried:
            connected = self._connected()
            others = [c for c in connected if self._observer.lane(self._pool[c.endpoint.name]) not in tried]
            # A call that would rather wait may go back to where it failed, once that is connected again.
            picker = self._picker_of(others or (connected if info.wait_for_ready else ()))
        if picker is None:
            return None
        picked = picker.pick(self._caller.hash_key(info) if self._hashes else "")
        return self._observer.admit(self._pool[picked.endpoint.name])

    def _in_sight(self, tried: Collection[Route]) -> bool:
        """Whether waiting may help: the service is not known yet, or a connection is in the making."""
        if self.backend.view is None:
            return self.backend.problem is None
        subchannels = (self._pool.get(c.endpoint.name) for c in self._candidates)
        return any(s is not None and not s.broken and self._observer.lane(s) not in tried for s in subchannels)

    def _nobody(self) -> UnavailableError:
        name, backend = self.target.service if self.target.whole else self.target.cluster, self.backend
        if backend.view is None:
            why = "the kernel has not told of it yet" if backend.problem is None else backend.problem.message
            return UnavailableError(f"{name}: {why}")
        if not self._candidates:
            return UnavailableError(f"{name}: none of its {len(self._endpoints())} endpoints is healthy")
        return UnavailableError(f"{name}: none of its healthy endpoints can be reached")

    async def _next_change(self, patience: float | None) -> None:
        try:
            async with asyncio.timeout_at(patience):
                await self._change.wait()
        except TimeoutError:
            raise self._nobody() from None

    def _endpoints(self) -> list[Endpoint]:
        """The endpoints of the target, healthy or not."""
        if self.backend.view is None:
            return []
        every = self.backend.view.endpoints.values()
        return list(every) if self.target.whole else [e for e in every if self.target.has(e)]

    def select(self) -> None:
        """See Follower. Comes again later while a slow start goes on."""
        policy, endpoints = self._policy, self._endpoints()
        now = self._settings.clock.time_ns()
        caller = self._caller
        self._candidates = select(endpoints, policy, locality=caller.locality, client_id=caller.client_id, now_ns=now)
        self._hashes = policy.lb_policy == LB_POLICY_RING_HASH
        self._keep_homes(endpoints)
        self._observer.follow(policy, (c.endpoint.name for c in self._candidates))
        self._stop_ramp()
        if ramp_end_ns(endpoints, policy) > now:
            step = min(1.0, seconds(policy.slow_start.window) / _RAMP_STEPS)
            self._ramp = asyncio.get_running_loop().call_later(step, self._reselect)

    def _reselect(self) -> None:
        """Chooses anew on its own account."""
        self.select()
        self.backend.sync()
        self.refresh()

    def refresh(self) -> None:
        """See Follower. Where all that should get calls are broken or left out, the next tier stands by."""
        if self._all_broken(c for c in self._candidates if c.weight):
            for priority in sorted({c.priority for c in self._candidates if not c.weight}):
                standby = [c for c in self._candidates if c.priority == priority]
                for c in standby:
                    self._pool.connect(c.endpoint)
                if not self._all_broken(standby):
                    break
        live = self._connected()
        if len(live) != len(self._live) or any(a is not b for a, b in zip(live, self._live, strict=True)):
            # Only then: a new picker forgets whose turn it is.
            self._picker = self._picker_of(live)
            self._live = live
        self._observer.connected(self._pool[c.endpoint.name] for c in live)
        self._wake()

    def _spread_anew(self) -> None:
        """What becomes of calls has an influence on where the next ones go."""
        self._live = ()
        self.refresh()

    def _keep_homes(self, endpoints: Iterable[Endpoint]) -> None:
        """Remembers where sessions may be at home: also where endpoints drain."""
        if not self._sticky:
            self._draining, self._homes = [], {}
            return
        draining = [e for e in endpoints if e.status.state == HEALTH_STATE_DRAINING]
        self._draining = [Candidate(endpoint, 0, 0) for endpoint in draining]
        self._homes = {address_of(e): e for e in [*draining, *(c.endpoint for c in self._candidates)]}

    def _all_broken(self, candidates: Iterable[Candidate]) -> bool:
        subchannels = (self._pool.get(c.endpoint.name) for c in candidates)
        out = self._observer.ejected
        return all(s is not None and (s.broken or s.name in out) for s in subchannels)

    def _connected(self) -> list[Candidate]:
        """Those that are connected, without those that are left out, as long as there are others."""
        found = ((c, self._pool.get(c.endpoint.name)) for c in self._candidates)
        live = [c for c, subchannel in found if subchannel is not None and subchannel.ready]
        out = self._observer.ejected
        return ([c for c in live if c.endpoint.name not in out] or live) if out else live

    def _picker_of(self, candidates: Sequence[Candidate]) -> Picker | None:
        if not candidates:
            return None
        return make_picker(
            candidates,
            self._policy,
            random=self._settings.random,
            in_flight=self._pool.in_flight,
            load_weights=self._observer.load_weights,
        )

    def _wake(self) -> None:
        change, self._change = self._change, asyncio.Event()
        change.set()
        self._changed()

    def _stop_ramp(self) -> None:
        if self._ramp is not None:
            self._ramp.cancel()
            self._ramp = None
