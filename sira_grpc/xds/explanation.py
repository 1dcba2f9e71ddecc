"""How far each resource has come with a client: for `sira why` and CSDS."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sira.xds.v1.client_pb2 import ResourceState

from sira_grpc.xds.resource import Resource
from sira_grpc.xds.subscription import Subscription


class Explained(NamedTuple):
    """A resource that a client is subscribed to.

    Attributes:
        type_url, name: what it is, by the name by which the client asks for it.
        state: how far it has come.
        sent: what the client was sent last; None if nothing, or if it is not known any more.
        current: what it would get now; None if there is nothing of that name.
        rejection: why it has rejected what it would get now, in its words; empty if it has not.
    """

    type_url: str
    name: str
    state: ResourceState.ValueType
    sent: Resource | None
    current: Resource | None
    rejection: str


def explain(subscription: Subscription) -> Iterator[Explained]:
    """Yields what a client is subscribed to of one type, by name."""
    waiting = {resource.name for sent in subscription.unanswered.values() for resource in sent}
    for name in sorted(subscription.all_names.union(subscription.leaving)):
        current = subscription.get(name)
        state, sent = _state(subscription, name, current, waiting)
        rejection = subscription.rejections.reason(current) if current is not None else ""
        yield Explained(subscription.type_url, name, state, sent, current, rejection)


def _state(
    subscription: Subscription, name: str, current: Resource | None, waiting: set[str]
) -> tuple[ResourceState.ValueType, Resource | None]:
    if current is None:
        return ResourceState.RESOURCE_STATE_MISSING, None
    if current in subscription.rejections:
        return ResourceState.RESOURCE_STATE_REJECTED, current
    if subscription.pending(name, current):
        before = current.before
        known = before is not None and before.generation <= subscription.at and name not in subscription.fresh
        return ResourceState.RESOURCE_STATE_PENDING, before if known else None
    if name in waiting:
        return ResourceState.RESOURCE_STATE_SENT, current
    return ResourceState.RESOURCE_STATE_ACKNOWLEDGED, current
