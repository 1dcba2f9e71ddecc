"""The members of a cluster, asked one after the other: each knows only of the clients that are connected to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import TypeVar

from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import say
from sira_grpc.cli.session import Session

T = TypeVar("T")


def ask(session: Session, question: Callable[[Session], T]) -> Iterator[T]:
    """Yields what each member answers. One that cannot be reached is told of, and left out.

    Raises:
        Failure: the member of the session itself cannot answer.
    """
    yield question(session)
    for member, address in _others(session):
        try:
            with Session(replace(session.context, addr=address), session.printer, session.timeout) as other:
                yield question(other)
        except Failure as failure:
            if failure.code is not ExitCode.UNAVAILABLE:
                raise
            say(f"without the clients of {member}: {failure}")


def _others(session: Session) -> Iterator[tuple[str, str]]:
    """The names and addresses of the other members that are live."""
    from sira.cluster.v1.cluster_service_pb2 import GetClusterRequest
    from sira.cluster.v1.member_pb2 import MemberState

    cluster = session.call(session.cluster.GetCluster, GetClusterRequest()).cluster
    for member in cluster.members:
        if member.state == MemberState.MEMBER_STATE_LIVE and member.name != cluster.answered_by and member.addresses:
            yield member.name, member.addresses[0]
