"""The cluster as it is told to people and programs: members, duties and the store."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator
from contextlib import suppress

from sira.cluster.v1.member_pb2 import Cluster, Member, StoreReplica, StoreState

from sira_grpc.clock import Clock
from sira_grpc.cluster import names
from sira_grpc.cluster.live_members import LiveMembers
from sira_grpc.cluster.membership import Membership
from sira_grpc.cluster.replicas import FRESH_SECONDS, Replicas
from sira_grpc.cluster.store_watch import StoreWatch
from sira_grpc.cluster.view import ClusterView, MemberEntry
from sira_grpc.store.api import Store
from sira_grpc.times import NANOS, duration, timestamp

_WITH_EVERY_HEARTBEAT = ("heartbeat_time", "view_revision", "view_lag", "bus_namespaces", "leases", "client_kinds")


class ClusterStatus:
    """Answered from the view, while the store is lost too."""

    def __init__(
        self,
        store: Store,
        view: ClusterView,
        live: LiveMembers,
        membership: Membership,
        store_watch: StoreWatch,
        *,
        member: str,
        clock: Clock,
    ) -> None:
        self._store = store
        self._view = view
        self._live = live
        self._membership = membership
        self._store_watch = store_watch
        self._replicas = Replicas(store, clock)
        self._member = member
        self._clock = clock
        # Replaced with each change: those that wait hold the one of their time.
        self._news = asyncio.Event()
        live.changed.append(self._changed)
        store_watch.changed.append(lambda there: self._changed())
        view.duty_changed.append(lambda duty: self._changed())

    async def read(self) -> Cluster:
        """Returns the cluster as it is."""
        state = await self._replicas.read()
        store = self._describe_store()
        if state is not None:
            store.leader = state.leader
            store.replicas.extend(
                StoreReplica(name=r.name, leader=r.leader, current=r.current, offline=r.offline, lag=r.lag)
                for r in sorted(state.replicas, key=lambda replica: replica.name)
            )
        duties = defaultdict[str, list[str]](list)
        for duty, held in self._view.duties.items():
            duties[held.member].append(duty)
        members = sorted(self._view.members.items())
        return Cluster(
            members=[self._describe(entry, sorted(duties[member])) for member, entry in members],
            store=store,
            answered_by=names.member_name(self._member),
            revision=self._view.revision,
        )

    async def follow(self) -> AsyncGenerator[Cluster, None]:
        """Yields the cluster, then again whenever more than a heartbeat has changed; a slow reader gets the latest."""
        told = b""
        while True:
            news = self._news
            cluster = await self.read()
            shape = _shape(cluster)
            if shape != told:
                told = shape
                yield cluster
            if self._replicas.known:
                with suppress(TimeoutError):  # nobody tells when the replicas change
                    async with asyncio.timeout(FRESH_SECONDS):
                        await news.wait()
            else:
                await news.wait()

    def _changed(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def _describe_store(self) -> StoreState:
        watch = self._store_watch
        store = StoreState(engine=self._store.engine, writable=not watch.lost, revision=self._store.revision)
        if watch.lost_at_ns is not None:
            store.lost_time.CopyFrom(timestamp(watch.lost_at_ns))
        return store

    def _describe(self, entry: MemberEntry, duties: list[str]) -> Member:
        record = entry.record
        member = Member(
            name=names.member_name(entry.member),
            host=record.host,
            addresses=record.addresses,
            version=record.version,
            state=self._live.state(entry),
            start_time=record.start_time,
            heartbeat_time=record.heartbeat_time,
            view_revision=record.view_revision,
            view_lag=duration(record.view_lag_ns / NANOS),
            bus_namespaces=record.bus_namespaces,
            leases=record.leases,
            duties=duties,
            client_kinds=record.client_kinds,
        )
        if entry.member == self._member and not self._store.shared:  # it writes no heartbeats, as nobody reads them
            member.heartbeat_time.CopyFrom(timestamp(self._clock.time_ns()))
            member.view_revision = self._view.revision
            member.bus_namespaces, member.leases = self._membership.bus_namespaces(), self._membership.leases()
            member.client_kinds[:] = sorted(self._membership.client_kinds())
        return member


def _shape(cluster: Cluster) -> bytes:
    """The cluster without what changes with every heartbeat."""
    shape = Cluster()
    shape.CopyFrom(cluster)
    shape.ClearField("revision")
    shape.store.ClearField("revision")
    for member in shape.members:
        for field in _WITH_EVERY_HEARTBEAT:
            member.ClearField(field)  # type: ignore[arg-type]  # mypy wants to see each name
    for replica in shape.store.replicas:
        replica.ClearField("lag")
    return shape.SerializeToString(deterministic=True)
