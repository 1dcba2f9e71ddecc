"""`sira bus verify`: whether what topics hold is what was published."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from sira_grpc.cli import cells, names
from sira_grpc.cli.bus import sizes, topics
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Column, Format, plain, say
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.bus.v1.topic_service_pb2 import Damage, VerifyTopicResponse


class Verified(NamedTuple):
    """A partition that was read to its end, and how much was damaged in it."""

    topic: str
    answer: VerifyTopicResponse
    damages: int


class Broken(NamedTuple):
    """A place that is not as it was written."""

    topic: str
    partition: int
    damage: Damage


COLUMNS: Sequence[Column[Verified]] = (
    ("TOPIC", lambda verified: verified.topic),
    ("PARTITION", lambda verified: str(verified.answer.partition)),
    ("FRAMES", lambda verified: f"{verified.answer.frames:,}"),
    ("RECORDS", lambda verified: f"{verified.answer.records:,}"),
    ("SIZE", lambda verified: sizes.brief(verified.answer.bytes)),
    ("DAMAGES", lambda verified: f"[red]{verified.damages}[/]" if verified.damages else "none"),
    ("HEAD", lambda verified: verified.answer.head.hex()),
)
DAMAGES: Sequence[Column[Broken]] = (
    ("TOPIC", lambda broken: broken.topic),
    ("PARTITION", lambda broken: str(broken.partition)),
    ("OFFSET", lambda broken: "unknown" if broken.damage.offset < 0 else str(broken.damage.offset)),
    ("FRAME", lambda broken: str(broken.damage.frame)),
    ("DAMAGE", lambda broken: cells.text(broken.damage.description)),
)


@connected
def verify(
    session: Session,
    topic: Annotated[str | None, typer.Argument(help="Name of the topic.")] = None,
    namespace: Namespace = None,
    everything: Annotated[bool, typer.Option("--all", help="All topics of the namespace.")] = False,
) -> None:
    """Read all that a topic holds, and check it: each frame, the chain of hashes through each partition, the offsets.

    HEAD is the hash of the last frame, which stands for everything before it. Ends in exit code 1 if something is
    damaged. As JSON, each answer of the kernel is one line.
    """
    if (topic is None) != everything:
        raise Failure("TOPIC or --all: exactly one of them must be given", ExitCode.USAGE)
    own = session.namespace(namespace)
    chosen = [names.topic_name(topic, own)] if topic else [each.name for each in topics.find(session, "", namespace)]
    verified: list[Verified] = []
    broken: list[Broken] = []
    for name in chosen:
        _verify(session, name, verified, broken)
    if session.printer.format is Format.TABLE:
        session.printer.rows(verified, COLUMNS)
        if broken:
            print()
            session.printer.rows(broken, DAMAGES)
    if broken:
        raise Failure(f"{cells.count(len(broken), 'damage')} found")


def _verify(session: Session, name: str, verified: list[Verified], broken: list[Broken]) -> None:
    from sira.bus.v1.topic_service_pb2 import VerifyTopicRequest

    own = names.own(name)
    for answer in session.stream(session.topics.VerifyTopic, VerifyTopicRequest(name=name)):
        broken.extend(Broken(own, answer.partition, damage) for damage in answer.damages)
        if session.printer.format is not Format.TABLE:
            session.printer.next_data({"topic": name, **plain(answer)})
        if answer.done:
            damages = sum((each.topic, each.partition) == (own, answer.partition) for each in broken)
            verified.append(Verified(own, answer, damages))
        else:
            say(f"{own}/{answer.partition}: {cells.count(answer.records, 'record')}, {sizes.brief(answer.bytes)} read")
