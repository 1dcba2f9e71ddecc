"""The servers that hold the state's stream, as its leader tells of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sira_grpc.store.nats_errors import Lost, Refused, unavailable
from sira_grpc.store.nats_link import Link

ASK_SECONDS = 0.8


@dataclass(frozen=True, slots=True)
class NatsReplica:
    """One server.

    Attributes:
        name: of the server.
        leader: it leads.
        current: it has everything that the leader has.
        offline: the leader hears nothing of it.
        lag: operations that it is behind.
    """

    name: str
    leader: bool
    current: bool
    offline: bool
    lag: int


@dataclass(frozen=True, slots=True)
class NatsReplicas:
    """The servers of a stream.

    Attributes:
        leader: name of the one that leads; empty for a server that is alone.
        replicas: all of them, the leader too, by name.
    """

    leader: str
    replicas: Sequence[NatsReplica]


async def replicas_of(link: Link, stream: str) -> NatsReplicas:
    """Asks the leader of a stream.

    Raises:
        StoreUnavailable: there is none, or it does not answer.
    """
    try:
        info = await link.api(f"STREAM.INFO.{stream}", within=ASK_SECONDS)
    except (Lost, Refused) as error:
        raise unavailable(str(error)) from error
    cluster: dict[str, Any] = info.get("cluster") or {}
    leader = str(cluster.get("leader", ""))
    found = [
        NatsReplica(
            str(peer["name"]),
            leader=False,
            current=bool(peer.get("current")),
            offline=bool(peer.get("offline")),
            lag=int(peer.get("lag", 0)),
        )
        for peer in cluster.get("replicas") or ()
    ]
    if leader:
        found.append(NatsReplica(leader, leader=True, current=True, offline=False, lag=0))
    return NatsReplicas(leader, sorted(found, key=lambda replica: replica.name))
