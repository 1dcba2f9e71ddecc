"""The membership of a cluster as a whole: puts its parts together, starts them and stops them."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any

from sira.cluster.internal.v1.member_record_pb2 import MemberRecord, SecretRecord
from sira.xds.v1.client_pb2 import ClientKind

from sira_grpc.background import Background
from sira_grpc.clock import Clock
from sira_grpc.cluster import forgetting, names
from sira_grpc.cluster.duties import Duties
from sira_grpc.cluster.forgetting import Forgetting
from sira_grpc.cluster.live_members import LiveMembers
from sira_grpc.cluster.membership import Membership, Pause
from sira_grpc.cluster.placing import LivePlacement
from sira_grpc.cluster.status import ClusterStatus
from sira_grpc.cluster.store_watch import StoreWatch
from sira_grpc.cluster.view import ClusterView
from sira_grpc.commits import Commits
from sira_grpc.config import ClusterConfig
from sira_grpc.errors import SiraError
from sira_grpc.following import follow
from sira_grpc.store.api import ABSENT, Op, Put, Store
from sira_grpc.times import timestamp

SECRET_BYTES = 32
PARTING_SECONDS = 1.0
"""How long a member that stops waits for the store; the others find out by themselves."""
_LOOKS = 8
"""How often it is looked in each `store_timeout` whether the store is lost."""

log = logging.getLogger(__name__)


class Cluster:
    """The parts of the cluster, and the tasks that run behind them. Must be made on the event loop that it runs on.

    Args:
        store: shared with the other members, or not.
        config: see ClusterConfig.
        member: id of this member: new at every start, of `[A-Za-z0-9_-]`.
        version: of sira-grpc.
        host: name of the machine.
        clock, random_bytes: time and randomness; random_bytes must be unpredictable.
        pause: returns after so many seconds.

    Attributes:
        placement: see Placement.
        duties: work that one member does for all.
        addresses: where members are reached.
        store_watch: whether the store takes writes.
        status: the cluster as it is told to others.
    """

    def __init__(
        self,
        store: Store,
        config: ClusterConfig,
        *,
        member: str,
        version: str,
        host: str,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
        pause: Pause = asyncio.sleep,
    ) -> None:
        self._store = store
        self._random_bytes = random_bytes
        self._pause = pause
        self._look_interval = config.store_timeout / _LOOKS
        self._background = Background()
        self._following: asyncio.Task[None] | None = None
        self.view = view = ClusterView()
        self._commits = commits = Commits(store, view)
        self.store_watch = StoreWatch(store, config, clock)
        self.placement = LivePlacement(member, lambda: self.store_watch.isolated)
        self.addresses = self.live = LiveMembers(member, view, self.placement, config, clock)
        record = MemberRecord(host=host, version=version, start_time=timestamp(clock.time_ns()))
        self.membership = Membership(
            store,
            view,
            commits,
            record,
            member=member,
            interval=config.heartbeat_interval,
            clock=clock,
            pause=pause,
        )
        self.duties = Duties(view, commits, self.placement, clock, patience=2 * config.member_timeout)
        self._forgetting = Forgetting(self.live, self.duties, commits, clock, pause)
        self.status = ClusterStatus(
            store, view, self.live, self.membership, self.store_watch, member=member, clock=clock
        )
        self.membership.beaten += [self.live.beaten, self.store_watch.beaten, self.duties.wake]

    @property
    def secret(self) -> bytes:
        """What members sign with to each other. Known once the cluster has started."""
        if self.view.secret is None:
            raise RuntimeError("the cluster has not started")
        return self.view.secret

    @property
    def failures(self) -> Sequence[asyncio.Event]:
        """Tasks have ended that must not."""
        return (self._background.failed,)

    async def start(self) -> None:
        """Fills the view, follows the store, and begins to write heartbeats; the member takes no work yet.

        Raises:
            StoreUnavailable: the store is new and takes no writes.
        """
        snapshot = await self._store.snapshot(names.PREFIX)
        self.view.load(snapshot)
        following = follow(self._store, self.view, after=snapshot.revision)
        self._following = self._background.own(following, "cluster view")
        await self._commits.run(self._commits.apply(self._founding))
        if not self._store.shared:
            await self._trying(self.membership.remove_earlier(), "what an earlier run has left stays")
        self.store_watch.begin()
        self.live.begin(shared=self._store.shared)
        if self._store.shared:
            await self._trying(self.membership.beat(), "the first heartbeat did not go through")
        self._background.own(self.membership.run(), "heartbeats")
        self._background.own(self._watch_store(), "store watch")
        self._background.own(self.duties.keep(), "duties")
        self._background.own(self.duties.run(forgetting.DUTY, self._forgetting.run), forgetting.DUTY)

    def serves(
        self,
        *,
        bus_namespaces: Callable[[], int],
        leases: Callable[[], int],
        client_kinds: Callable[[], Iterable[ClientKind.ValueType]],
    ) -> None:
        """Says how to learn what the member serves, for its record."""
        self.membership.bus_namespaces, self.membership.leases = bus_namespaces, leases
        self.membership.client_kinds = client_kinds

    async def announce(self, addresses: Sequence[str]) -> None:
        """Says where the member is reached: from here on it takes work, and duties.

        If the store takes no writes now, a later heartbeat says it.
        """
        await self._trying(self.membership.announce(addresses), "this member is announced later")
        await self._trying(self.duties.tend(), "duties are taken later")

    async def leave(self) -> None:
        """Lets go of duties and work, and tells the others, so that they take over before this member has drained.

        Waits a second for the store at most: without it the others find out later.
        """
        self.live.leave()
        try:
            async with asyncio.timeout(PARTING_SECONDS):
                await self.duties.leave()
                await self.membership.leave()
        except (SiraError, TimeoutError) as error:
            log.warning("the other members were not told that this one stops: %r", error)

    async def close(self) -> None:
        """Stops the tasks and deletes the member's record, if the store takes it within a second."""
        await self._background.cancel(but=self._following)  # it feeds the view, which the others wait for
        await self._commits.close()
        try:
            async with asyncio.timeout(PARTING_SECONDS):
                await self.membership.remove()
        except (SiraError, TimeoutError) as error:
            log.warning("the record of this member stays for a while: %r", error)
        await self._background.cancel()

    async def _trying(self, work: Coroutine[Any, Any, None], otherwise: str) -> None:
        try:
            await work
        except SiraError as error:
            log.warning("%s: %s", otherwise, error)

    def _founding(self) -> Sequence[Op]:
        if self.view.secret is not None:
            return []
        return [Put(names.SECRET, SecretRecord(key=self._random_bytes(SECRET_BYTES)).SerializeToString(), ABSENT)]

    async def _watch_store(self) -> None:
        while True:
            await self._pause(self._look_interval)
            self.store_watch.look()
