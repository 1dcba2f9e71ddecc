"""What a commit comes to, as this member knows the state: the messages to publish, each with what it expects."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sira_grpc.store.api import ABSENT, Check, Delete, Op, Put
from sira_grpc.store.conflicts import entry_conflict
from sira_grpc.store.nats_envelope import Kind, StateMessage, encode_state
from sira_grpc.store.nats_mirror import Mirror
from sira_grpc.store.nats_names import Names
from sira_grpc.store.nats_publisher import Outgoing


@dataclass(frozen=True, slots=True)
class Plan:
    """The messages of one try.

    Attributes:
        messages: checks first, so that the last message is a change if any is.
        changes: whether there is a change.
        doubtful: keys that are not there as far as this member knows, but another member may know better.
    """

    messages: Sequence[Outgoing]
    changes: bool
    doubtful: Sequence[str]


def make_plan(ops: Sequence[Op], commit_id: bytes, mirror: Mirror, names: Names, *, sure: bool) -> Plan | None:
    """Returns what to publish; None if an entry is there that must not be, and the mirror may lag.

    A delete of what is not there becomes a check that it is not there: another member may just have put it.

    Args:
        ops: the commit.
        commit_id: 16 random bytes that are its own.
        mirror: the state.
        names: the store's.
        sure: the mirror has everything that was acknowledged before the commit began.

    Raises:
        Conflict: an entry is not what is expected, and will never be again.
    """
    checks: list[tuple[Op, int]] = []
    changes: list[tuple[Op, int]] = []
    for op in ops:
        expected = _expected(op, mirror, sure=sure)
        if expected is None:
            return None
        gone = isinstance(op, Delete) and mirror.revision_of(op.key) == ABSENT and not op.expected
        (checks if isinstance(op, Check) or gone else changes).append((op, expected))
    messages = []
    for place, (op, expected) in enumerate([*checks, *changes], 1):
        subject = names.subject(op.key)
        checked = place <= len(checks)
        target = names.checks if checked else subject
        kind = Kind.CHECK if checked else Kind.PUT if isinstance(op, Put) else Kind.DELETE
        value = op.value if isinstance(op, Put) else b""
        payload = encode_state(target, StateMessage(kind, commit_id, place, len(ops), value))
        messages.append(Outgoing(target, payload, expected, of_subject=subject if checked else ""))
    return Plan(messages, bool(changes), [op.key for op in ops if mirror.revision_of(op.key) == ABSENT])


def _expected(op: Op, mirror: Mirror, *, sure: bool) -> int | None:
    """Returns the sequence of the key's subject that must be the last; None if that cannot be told yet."""
    found = mirror.revision_of(op.key)
    if op.expected is None or op.expected == found:
        return mirror.last_sequence(op.key)
    if op.expected > mirror.position and not sure:
        return op.expected  # another member's commit that has not come here yet: the server knows
    if op.expected == ABSENT and not sure:
        return None
    raise entry_conflict(op.key, op.expected, found)
