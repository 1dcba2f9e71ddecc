"""`sira bus topics`: what records are published to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Annotated, Any

import typer

from sira_grpc.cli import cells, names
from sira_grpc.cli.bus import sizes, subscriptions, topic_settings
from sira_grpc.cli.bus.listing import ListByDefault
from sira_grpc.cli.bus.setting import fill, taking
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Column, Format, plain, say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.bus.v1.topic_pb2 import PartitionStatus, Topic

app = typer.Typer(cls=ListByDefault, help="Topics: what records are published to. `list` may be left out.")

Name = Annotated[str, typer.Argument(help="Name of the topic, such as `orders.eu.created`.")]
Given = Mapping[str, Any]
Etag = Annotated[str, typer.Option(help="Refuse if the topic was written since this etag was read.")]

COLUMNS: Sequence[Column[Topic]] = (
    ("NAME", lambda topic: names.short(topic.name)),
    ("PARTITIONS", lambda topic: str(topic.partitions or 1)),
    ("DURABILITY", topic_settings.durability),
    ("RETENTION", topic_settings.retention),
    ("COMPACTED", lambda topic: "yes" if topic.HasField("compaction") else ""),
    ("AGE", lambda topic: cells.age(topic.create_time)),
    ("DESCRIPTION", lambda topic: cells.text(topic.description)),
)
DETAILS: Sequence[Column[Topic]] = (
    ("NAME", lambda topic: topic.name),
    ("DESCRIPTION", lambda topic: cells.text(topic.description)),
    *COLUMNS[2:4],
    ("COMPACTION", topic_settings.compaction),
    ("DEDUPLICATION", topic_settings.deduplication),
    ("LIMITS", topic_settings.limits),
    ("CREATED", lambda topic: cells.moment(topic.create_time)),
    ("UPDATED", lambda topic: cells.moment(topic.update_time)),
    ("ETAG", lambda topic: topic.etag),
)
PARTITIONS: Sequence[Column[PartitionStatus]] = (
    ("PARTITION", lambda partition: str(partition.partition)),
    ("FIRST", lambda partition: str(partition.first_offset)),
    ("NEXT", lambda partition: str(partition.next_offset)),
    ("SIZE", lambda partition: sizes.brief(partition.bytes)),
    ("SCHEDULED", lambda partition: str(partition.scheduled)),
)


def find(session: Session, pattern: str, namespace: str | None) -> list[Topic]:
    """The topics of a namespace by name, those that match a pattern; empty for all.

    Raises:
        Failure: the call failed.
    """
    from sira.bus.v1.topic_service_pb2 import ListTopicsRequest

    request = ListTopicsRequest(parent=names.namespace_name(session.namespace(namespace)), pattern=pattern)
    return session.pages(session.topics.ListTopics, request, "topics")


def get(session: Session, name: str, namespace: str | None) -> Topic:
    """A topic, with what it holds.

    Raises:
        Failure: the call failed.
    """
    from sira.bus.v1.topic_service_pb2 import GetTopicRequest

    request = GetTopicRequest(name=names.topic_name(name, session.namespace(namespace)))
    return session.call(session.topics.GetTopic, request).topic


@app.command("list")
@connected
def list_topics(
    session: Session,
    pattern: Annotated[str, typer.Argument(help="Only those that match, such as `orders.*.created`, `orders.>`.")] = "",
    namespace: Namespace = None,
) -> None:
    """List the topics of a namespace by name."""
    session.printer.many(find(session, pattern, namespace), COLUMNS)


@app.command("show")
@connected
def show_topic(session: Session, name: Name, namespace: Namespace = None) -> None:
    """Show a topic, what is in its partitions, and which subscriptions read it."""
    topic = get(session, name, namespace)
    readers = _readers(session, topic)
    table = session.printer.format is Format.TABLE
    subscriptions: Column[Topic] = ("SUBSCRIPTIONS", lambda _: " ".join(map(names.own, readers)))
    session.printer.facts(
        topic, (*DETAILS, subscriptions), None if table else {**plain(topic), "subscriptions": readers}
    )
    if table:
        print()
        session.printer.rows(topic.status.partitions, PARTITIONS)


@app.command("create")
@connected
@taking(topic_settings.SETTINGS)
def create_topic(
    session: Session,
    name: Name,
    namespace: Namespace = None,
    partitions: Annotated[int, typer.Option(min=1, max=256, help="Number of partitions, for good.")] = 1,
    memory: Annotated[
        bool,
        typer.Option("--memory", help="Keep records in memory only, for good: they are gone when the kernel ends."),
    ] = False,
    *,
    settings: Given,
) -> None:
    """Create a topic in a namespace that is there."""
    from sira.bus.v1.topic_pb2 import Durability, Topic
    from sira.bus.v1.topic_service_pb2 import CreateTopicRequest

    topic = Topic(name=names.topic_name(name, session.namespace(namespace)), partitions=partitions)
    topic.durability = Durability.DURABILITY_MEMORY if memory else Durability.DURABILITY_DISK
    fill(topic, topic_settings.SETTINGS, settings)
    made = session.call(session.topics.CreateTopic, CreateTopicRequest(topic=topic))
    session.printer.one(made.topic, DETAILS)


@app.command("set")
@connected
@taking(topic_settings.SETTINGS)
def set_topic(
    session: Session,
    name: Name,
    namespace: Namespace = None,
    etag: Etag = "",
    *,
    settings: Given,
) -> None:
    """Change what is given, and leave the rest."""
    from google.protobuf.field_mask_pb2 import FieldMask
    from sira.bus.v1.topic_pb2 import Topic
    from sira.bus.v1.topic_service_pb2 import UpdateTopicRequest

    topic = Topic(name=names.topic_name(name, session.namespace(namespace)), etag=etag)
    paths = fill(topic, topic_settings.SETTINGS, settings)
    if not paths:
        raise Failure("nothing to change: give --description or an option of retention or limits", ExitCode.USAGE)
    request = UpdateTopicRequest(topic=topic, update_mask=FieldMask(paths=paths))
    session.printer.one(session.call(session.topics.UpdateTopic, request).topic, DETAILS)


@app.command("delete")
@connected
def delete_topic(
    session: Session,
    name: Name,
    namespace: Namespace = None,
    force: Annotated[bool, typer.Option("--force", help="Delete its records too.")] = False,
    etag: Etag = "",
) -> None:
    """Delete a topic that has no records."""
    from sira.bus.v1.topic_service_pb2 import DeleteTopicRequest

    full = names.topic_name(name, session.namespace(namespace))
    session.call(session.topics.DeleteTopic, DeleteTopicRequest(name=full, force=force, etag=etag))
    say(f"deleted {full}")


def _readers(session: Session, topic: Topic) -> list[str]:
    """The names of the subscriptions that read a topic."""
    from sira_grpc.bus.names import Pattern

    own, namespace = names.own(topic.name), topic.name.split("/")[1]
    found = subscriptions.find(session, namespace)
    return [each.name for each in found if any(Pattern(pattern).matches(own) for pattern in each.topics)]
