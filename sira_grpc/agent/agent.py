"""The identity agent of a host: joins, starts its parts in order, and ends them in reverse. No logic of its own."""

from __future__ import annotations

import asyncio
import logging
import secrets
import signal
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from random import Random
from types import TracebackType

from opentelemetry.metrics import Meter, NoOpMeter
from sira_client.clock import Clock, SystemClock
from sira_client.first_of import first_of

from sira_grpc.agent.acceptor import Acceptor
from sira_grpc.agent.bundle_watch import BundleWatch
from sira_grpc.agent.entries import AgentConfig, KeptFiles, Workload, files_of, workloads_of
from sira_grpc.agent.failures import IdentityLost
from sira_grpc.agent.files import FileKeeper
from sira_grpc.agent.holdings import LINGER_SECONDS, Holdings
from sira_grpc.agent.home import Home
from sira_grpc.agent.joining import Joining, settle
from sira_grpc.agent.jwt_cache import JwtCache
from sira_grpc.agent.kernel_link import KernelLink
from sira_grpc.agent.keyed_svid import KeyedSvid
from sira_grpc.agent.places import check_places
from sira_grpc.agent.sds import SecretDiscovery
from sira_grpc.agent.sds_identities import EntitledSecrets
from sira_grpc.agent.settling import Settling
from sira_grpc.agent.socket_place import SocketPlace
from sira_grpc.agent.trust import Trust
from sira_grpc.agent.workload_api import WorkloadApi
from sira_grpc.agent.workload_server import WorkloadServer
from sira_grpc.background import Background

_log = logging.getLogger(__name__)

_LOST = {"CREDENTIAL_REVOKED", "CREDENTIAL_EXPIRED"}
"""Reasons for which the kernel will never again renew the agent's own identity."""


class Agent:
    """One agent. An async context manager: inside the block it serves.

    An identity that is in the directory, and has not expired, is taken up, whether the kernel can be reached or not.
    Otherwise the agent joins.

    Args:
        config: see AgentConfig.
        directory: the agent's own identity directory.
        joining: by what right it joins; None if it must have an identity.
        clock, random, random_bytes: time and chance; random_bytes must be unpredictable.
        meter: where metrics go.
        linger: seconds for which an identity is kept that no program follows any more.

    Raises, on entering:
        ConfigError: the configuration or a path cannot be used, or another agent is there.
        IdentityLost: the identity in the directory has expired, or there is none, and there is no `joining`.
        KernelUnreachable, KernelNotTrusted, sira_client.errors.SiraError: it cannot join; see joining.enrol.
        OSError: the directory cannot be written; found out before it joins.
    """

    def __init__(
        self,
        config: AgentConfig,
        directory: Path,
        *,
        joining: Joining | None = None,
        clock: Clock | None = None,
        random: Random | None = None,
        random_bytes: Callable[[int], bytes] = secrets.token_bytes,
        meter: Meter | None = None,
        linger: float = LINGER_SECONDS,
    ) -> None:
        self.config = config
        self.directory = directory
        self.failure = ""
        """Why the agent has failed. Empty if it has not, or its log tells."""
        self._joining = joining
        self._clock = clock or SystemClock()
        self._random = random or Random()
        self._random_bytes = random_bytes
        self._meter = meter or NoOpMeter("sira")
        self._linger = linger
        self._stack = AsyncExitStack()
        self._lost = asyncio.Event()
        self._background = Background()
        self._holdings: Holdings | None = None

    async def __aenter__(self) -> Agent:
        async with AsyncExitStack() as stack:
            await self._open(stack)
            self._stack = stack.pop_all()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.aclose()

    @property
    def identity(self) -> str:
        """The agent's own SPIFFE ID. Empty before it is known."""
        return str(self._holdings.own.identity) if self._holdings is not None else ""

    @property
    def failed(self) -> bool:
        """Whether it should be stopped and started again, maybe with a join token: `failure` and its log say why."""
        return self._lost.is_set() or any(event.is_set() for event in self._failures())

    async def run_until_signal(self) -> None:
        """Returns on SIGTERM or SIGINT, or when the agent has failed."""
        loop = asyncio.get_running_loop()
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop.set)
        try:
            await first_of(stop.wait(), self.until_failed())
        finally:
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

    async def until_failed(self) -> None:
        """Returns when the agent has failed: see `failed`."""
        await first_of(*(event.wait() for event in (self._lost, *self._failures())))

    def _failures(self) -> list[asyncio.Event]:
        return [self._background.failed, *([self._holdings.failed] if self._holdings is not None else [])]

    async def _open(self, stack: AsyncExitStack) -> None:
        home = Home(self.directory)
        await asyncio.to_thread(home.enter)
        stack.callback(home.leave)
        svid, trust = await self._settle_in(home)
        domain = svid.identity.trust_domain
        workloads, kept = workloads_of(self.config, domain), files_of(self.config, domain)
        await asyncio.to_thread(check_places, self.directory, workloads, kept)
        link = KernelLink(self.config.kernel, svid, trust.roots_pem, self._random)
        stack.push_async_callback(link.close)
        holdings = self._holdings = Holdings(
            trust, svid, issue=link.issue_certificate, clock=self._clock, random=self._random, linger=self._linger
        )
        stack.push_async_callback(holdings.close)
        stack.push_async_callback(self._background.cancel)
        self._follow(link, holdings)
        self._keep([KeptFiles(svid.identity, svid.dns_names, self.directory), *kept], holdings)
        if self.config.socket:
            await self._serve(stack, workloads, link, holdings)

    async def _settle_in(self, home: Home) -> tuple[KeyedSvid, Trust]:
        """Takes up the identity in the directory, or joins."""
        now = self._clock.time_ns() / 1e9
        try:
            found = await asyncio.to_thread(home.read, now=now)
        except IdentityLost as error:
            if self._joining is None:
                raise
            _log.warning("%s", error)
            found = None
        if found is not None:
            _log.info("takes up %s from %s", found[0].identity, self.directory)
            wanted = self._joining.identity if self._joining is not None else ""
            if wanted not in ("", found[0].identity.path, str(found[0].identity)):
                _log.warning("%s is not asked for, as there is an identity; remove %s to join", wanted, self.directory)
            return found
        if self._joining is None:
            raise IdentityLost(f"{self.directory}: holds no identity; join, with a join token")
        return await settle(self._joining, self.directory, clock=self._clock)

    def _follow(self, link: KernelLink, holdings: Holdings) -> None:
        settling = Settling(holdings, clock=self._clock)
        watch = BundleWatch(
            link,
            received=settling.received,
            # Renewing meets the same refusal, and its reason decides whether the agent is lost.
            refused=lambda error: holdings.own.renew(),
            clock=self._clock,
            random=self._random,
        )
        self._background.own(settling.run(), "the agent's acknowledgements")
        self._background.own(watch.run(), "the agent's watch of trust bundles")
        self._background.own(self._keep_link(link, holdings), "the agent's link")

    def _keep(self, kept: list[KeptFiles], holdings: Holdings) -> None:
        for entry in kept:
            keeper = FileKeeper(entry, holdings, clock=self._clock, random=self._random)
            self._background.own(keeper.run(), f"the identity directory {entry.directory}")

    async def _serve(
        self, stack: AsyncExitStack, workloads: tuple[Workload, ...], link: KernelLink, holdings: Holdings
    ) -> None:
        place = SocketPlace(Path(self.config.socket))
        await asyncio.to_thread(place.claim)
        stack.push_async_callback(asyncio.to_thread, place.close)
        acceptor = Acceptor(place.private, random_bytes=self._random_bytes)
        stack.push_async_callback(acceptor.close)
        tokens = JwtCache(link.issue_jwt, self._clock)
        server = WorkloadServer(
            workloads,
            acceptor.process_of,
            lambda entitled: WorkloadApi(entitled, holdings, tokens, self._clock),
            lambda entitled: SecretDiscovery(EntitledSecrets(entitled, holdings).open),
            meter=self._meter,
            new_id=lambda: self._random_bytes(8).hex(),
            random=self._random,
        )
        stack.push_async_callback(server.stop)
        await server.start(place.private)
        listener = await asyncio.to_thread(place.listen)
        stack.callback(listener.close)
        accepting = self._background.own(acceptor.run(listener), "the agent's acceptor")
        stack.push_async_callback(_stop_accepting, accepting, place)

    async def _keep_link(self, link: KernelLink, holdings: Holdings) -> None:
        """Has the link use the agent's newest identity, and ends the agent when it has none any more."""
        subscriber = holdings.streams.subscribe(0)
        try:
            while not holdings.streams.closed:
                revision, own = holdings.streams.revision, holdings.own
                if own.svid is not None:
                    link.use(own.svid, holdings.trust.roots_pem)
                if own.svid is None or (own.trouble and own.trouble.metadata.get("reason") in _LOST):
                    self._lose(f"{own.identity} cannot be renewed any more: {own.trouble or 'it has expired'}")
                subscriber.sent(revision)
                await subscriber.wait()
        finally:
            subscriber.close()

    def _lose(self, failure: str) -> None:
        if not self._lost.is_set():
            self.failure = f"{failure}; join again, with a join token"
            _log.critical("%s", self.failure)
            self._lost.set()


async def _stop_accepting(accepting: asyncio.Task[None], place: SocketPlace) -> None:
    await asyncio.to_thread(place.withdraw)
    accepting.cancel()
    await asyncio.wait({accepting})
