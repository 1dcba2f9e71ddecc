"""`sira bus subs`: durable readers of topics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sira_grpc.cli import cells, names
from sira_grpc.cli.bus import positions, subscription_settings
from sira_grpc.cli.bus.listing import ListByDefault
from sira_grpc.cli.bus.setting import fill, taking
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Column, Format, say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.bus.v1.subscription_pb2 import PartitionLag, Subscription

app = typer.Typer(cls=ListByDefault, help="Subscriptions: durable readers of topics. `list` may be left out.")

Name = Annotated[str, typer.Argument(help="Name of the subscription, such as `billing`.")]
Etag = Annotated[str, typer.Option(help="Refuse if the subscription was written since this etag was read.")]
Given = Mapping[str, Any]

COLUMNS: Sequence[Column[Subscription]] = (
    ("NAME", lambda subscription: names.short(subscription.name)),
    ("TOPICS", lambda subscription: " ".join(subscription.topics)),
    ("MODE", subscription_settings.mode),
    ("ACK TIMEOUT", subscription_settings.ack_timeout),
    ("RETRY", subscription_settings.retry),
    ("STATE", lambda subscription: "[yellow]paused[/]" if subscription.paused else "delivers"),
    ("AGE", lambda subscription: cells.age(subscription.create_time)),
    ("DESCRIPTION", lambda subscription: cells.text(subscription.description)),
)
DETAILS: Sequence[Column[Subscription]] = (
    ("NAME", lambda subscription: subscription.name),
    COLUMNS[7],
    *COLUMNS[1:6],
    ("OUTSTANDING", lambda subscription: f"{subscription.max_outstanding or 20_000:,} in a partition at most"),
    ("CONSUMERS", lambda subscription: str(subscription.status.consumers)),
    ("LAG", lambda subscription: f"{subscription.status.lag:,}"),
    ("DEAD LETTERS", lambda subscription: f"{subscription.status.dead_letters:,}"),
    ("CREATED", lambda subscription: cells.moment(subscription.create_time)),
    ("UPDATED", lambda subscription: cells.moment(subscription.update_time)),
    ("ETAG", lambda subscription: subscription.etag),
)
PARTITIONS: Sequence[Column[PartitionLag]] = (
    ("TOPIC", lambda lag: lag.topic),
    ("PARTITION", lambda lag: str(lag.partition)),
    ("SETTLED", lambda lag: str(lag.settled_offset)),
    ("NEXT", lambda lag: str(lag.next_offset)),
    ("LAG", lambda lag: str(lag.lag)),
    ("OUTSTANDING", lambda lag: str(lag.outstanding)),
    ("RETRYING", lambda lag: str(lag.retrying)),
)


def find(session: Session, namespace: str) -> list[Subscription]:
    """The subscriptions of a namespace by name, without their status.

    Raises:
        Failure: the call failed.
    """
    from sira.bus.v1.subscription_service_pb2 import ListSubscriptionsRequest

    request = ListSubscriptionsRequest(parent=names.namespace_name(namespace))
    return session.pages(session.subscriptions.ListSubscriptions, request, "subscriptions")


def get(session: Session, full: str) -> Subscription:
    """A subscription by its resource name, with its status.

    Raises:
        Failure: the call failed.
    """
    from sira.bus.v1.subscription_service_pb2 import GetSubscriptionRequest

    return session.call(session.subscriptions.GetSubscription, GetSubscriptionRequest(name=full)).subscription


@app.command("list")
@connected
def list_subscriptions(session: Session, namespace: Namespace = None) -> None:
    """List the subscriptions of a namespace by name."""
    session.printer.many(find(session, session.namespace(namespace)), COLUMNS)


@app.command("show")
@connected
def show_subscription(session: Session, name: Name, namespace: Namespace = None) -> None:
    """Show a subscription, and how far it has come in each partition."""
    subscription = get(session, names.subscription_name(name, session.namespace(namespace)))
    session.printer.one(subscription, DETAILS)
    if session.printer.format is Format.TABLE:
        print()
        session.printer.rows(subscription.status.partitions, PARTITIONS)


@app.command("create")
@connected
@taking(subscription_settings.SETTINGS)
def create_subscription(
    session: Session,
    name: Name,
    topic: Annotated[
        list[str],
        typer.Option(help="What it reads: `orders.created`, `orders.*.created`, `orders.>`; repeatable."),
    ],
    namespace: Namespace = None,
    ordered: Annotated[
        bool, typer.Option("--ordered", help="Records of one key go to one consumer at a time, in their order.")
    ] = False,
    start: Annotated[
        str | None,
        typer.Option(help=f"Where it begins in topics that are there: {positions.HELP}. Default: latest."),
    ] = None,
    *,
    settings: Given,
) -> None:
    """Create a subscription. The topics need not be there yet."""
    from sira.bus.v1.subscription_pb2 import Subscription, SubscriptionMode
    from sira.bus.v1.subscription_service_pb2 import CreateSubscriptionRequest

    subscription = Subscription(name=names.subscription_name(name, session.namespace(namespace)), topics=topic)
    if ordered:
        subscription.mode = SubscriptionMode.SUBSCRIPTION_MODE_ORDERED
    if start is not None:
        subscription.start.CopyFrom(positions.message(positions.parse(start, "--start"), "--start"))
    fill(subscription, subscription_settings.SETTINGS, settings)
    request = CreateSubscriptionRequest(subscription=subscription)
    session.printer.one(session.call(session.subscriptions.CreateSubscription, request).subscription, DETAILS)


@app.command("set")
@connected
@taking(subscription_settings.SETTINGS)
def set_subscription(
    session: Session, name: Name, namespace: Namespace = None, etag: Etag = "", *, settings: Given
) -> None:
    """Change what is given, and leave the rest."""
    from google.protobuf.field_mask_pb2 import FieldMask
    from sira.bus.v1.subscription_pb2 import Subscription
    from sira.bus.v1.subscription_service_pb2 import UpdateSubscriptionRequest

    if not settings:
        raise Failure("nothing to change: give --description, --ack-timeout or the like", ExitCode.USAGE)
    full = names.subscription_name(name, session.namespace(namespace))
    # The rules of a subscription hold for a request that changes a part of it too: it must have topics.
    subscription = Subscription(name=full, topics=get(session, full).topics, etag=etag)
    paths = fill(subscription, subscription_settings.SETTINGS, settings)
    request = UpdateSubscriptionRequest(subscription=subscription, update_mask=FieldMask(paths=paths))
    session.printer.one(session.call(session.subscriptions.UpdateSubscription, request).subscription, DETAILS)


@app.command("delete")
@connected
def delete_subscription(
    session: Session,
    name: Name,
    namespace: Namespace = None,
    force: Annotated[bool, typer.Option("--force", help="Delete its dead letters too.")] = False,
    etag: Etag = "",
) -> None:
    """Delete a subscription that has no dead letters, and end its consumers."""
    from sira.bus.v1.subscription_service_pb2 import DeleteSubscriptionRequest

    full = names.subscription_name(name, session.namespace(namespace))
    request = DeleteSubscriptionRequest(name=full, force=force, etag=etag)
    session.call(session.subscriptions.DeleteSubscription, request)
    say(f"deleted {full}")


@app.command("pause")
@connected
def pause(session: Session, name: Name, namespace: Namespace = None) -> None:
    """Deliver nothing until `resume`. What is with consumers may still be acknowledged."""
    from sira.bus.v1.subscription_service_pb2 import PauseSubscriptionRequest

    request = PauseSubscriptionRequest(name=names.subscription_name(name, session.namespace(namespace)))
    session.printer.one(session.call(session.subscriptions.PauseSubscription, request).subscription, DETAILS)


@app.command("resume")
@connected
def resume(session: Session, name: Name, namespace: Namespace = None) -> None:
    """Go on with delivery."""
    from sira.bus.v1.subscription_service_pb2 import ResumeSubscriptionRequest

    request = ResumeSubscriptionRequest(name=names.subscription_name(name, session.namespace(namespace)))
    session.printer.one(session.call(session.subscriptions.ResumeSubscription, request).subscription, DETAILS)


@app.command("seek")
@connected
def seek(
    session: Session,
    name: Name,
    position: Annotated[str, typer.Argument(help=f"{positions.HELP}; a time ago as `10m`.")],
    namespace: Namespace = None,
) -> None:
    """Move a subscription: what comes after the position is delivered, again if need be; what is before it is not.

    An offset moves its partition only. What is with consumers can no longer be acknowledged.
    """
    from sira.bus.v1.subscription_service_pb2 import SeekSubscriptionRequest

    request = SeekSubscriptionRequest(
        name=names.subscription_name(name, session.namespace(namespace)),
        position=positions.message(positions.parse(position, "POSITION"), "POSITION"),
    )
    status = session.call(session.subscriptions.SeekSubscription, request).status
    if session.printer.format is Format.TABLE:
        session.printer.rows(status.partitions, PARTITIONS)
    else:
        session.printer.one(status, ())
