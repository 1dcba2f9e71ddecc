"""`sira cluster watch`: members that come and go, and the store, as it happens."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from sira_grpc.cli import cells
from sira_grpc.cli.cluster.status import short, state
from sira_grpc.cli.commands import connected
from sira_grpc.cli.output import say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.cluster.v1.member_pb2 import Cluster, Member


class ClusterLines:
    """Tells each cluster in lines, in the light of the one before it: only what is different."""

    def __init__(self) -> None:
        self._members: dict[str, str] = {}
        self._store: dict[str, str] = {}

    def lines(self, cluster: Cluster) -> Iterator[str]:
        """Yields a line for each member and part of the store that is new, different or gone."""
        members = {short(member.name): _described(member) for member in cluster.members}
        for name, text in members.items():
            if self._members.get(name) != text:
                yield _line(cluster, "member", name, text)
        for name in self._members.keys() - members.keys():
            yield _line(cluster, "member", name, "gone")
        store = {"store": "writable" if cluster.store.writable else "[red]not writable[/]"}
        if cluster.store.replicas or "leader" in self._store:
            store["leader"] = cells.text(cluster.store.leader) or "[red]none[/]"
        for part, text in store.items():
            if self._store.get(part) != text:
                yield _line(cluster, part, cluster.store.engine, text)
        self._members, self._store = members, store


def _described(member: Member) -> str:
    duties = f"  {cells.text(' '.join(member.duties))}" if member.duties else ""
    return f"{state(member.state)}  {cells.text(' '.join(member.addresses))}{duties}"


def _line(cluster: Cluster, kind: str, name: str, text: str) -> str:
    return f"{cluster.revision:>8}  {kind:<6}  {name:<12}  {text}"


@connected
def watch(session: Session) -> None:
    """Follow members that come and go, and the store, until Ctrl-C.

    As JSON, each message is one line with the whole cluster.
    """
    from sira.cluster.v1.cluster_service_pb2 import WatchClusterRequest

    changes = ClusterLines()
    try:
        for message in session.stream(session.cluster.WatchCluster, WatchClusterRequest()):
            session.printer.next(message, lambda message=message: changes.lines(message.cluster))  # type: ignore[misc]
    except KeyboardInterrupt:
        say("stopped")
