"""What a stream asks for of one type and how far it has come: what both forms of the protocol have in common.

Nothing is remembered by name but what is out of the ordinary. Up to a generation of the source everything has been
sent: of the names that something may have happened to since, those are due whose resources are of a later one.
"""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from sira_grpc.errors import FieldViolation, InvalidField
from sira_grpc.xds.encoding import Encoder
from sira_grpc.xds.name_sets import EMPTY, NameSets
from sira_grpc.xds.node import Node
from sira_grpc.xds.rejections import Rejections, blamed
from sira_grpc.xds.resource import Resource
from sira_grpc.xds.source import ResourceSource

WILDCARD = "*"
HOLD_SECONDS = 5.0
"""For how long the removal of a cluster waits, at most, for the routes that lead elsewhere to be acknowledged."""
MAX_UNANSWERED = 16
"""Responses of one type that a client may leave unanswered before the oldest counts as accepted."""
NAME_LENGTH = 2048
SLICE = 32
"""Resources that are built without a pause: with 100 endpoints each, some 20 ms."""

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Counts:
    """What all streams did so far.

    Attributes:
        responses: that were made.
        rejections: responses that clients have rejected.
    """

    responses: int = 0
    rejections: int = 0


@dataclass(frozen=True, slots=True)
class Reader:
    """Through what the subscriptions of a stream see the resources.

    Attributes:
        source, node: what there is, and for whom.
        encoder, name_sets, counts: shared by all streams.
        max_names: that a client may ask for, of one type.
        ttl: seconds that endpoints are good for; 0 means for ever.
    """

    source: ResourceSource
    node: Node
    encoder: Encoder
    name_sets: NameSets
    counts: Counts
    max_names: int
    ttl: float = 0.0


@dataclass(frozen=True, slots=True)
class Response:
    """A response to be sent.

    Attributes:
        data: serialized.
        changed: the resources in it that the client did not have so far, as far as is known.
    """

    data: bytes
    changed: Sequence[Resource] = ()


class Subscription(ABC):
    """A type on a stream.

    Attributes:
        type_url: the type.
        names: what the client asks for by name.
        wildcard: it also asks for whatever there is.
        covered: what that was when it was last looked at.
        at: generation up to which everything was sent.
        fresh: names that the client has asked for since the last response: it is sent what they stand for, if
            that is not new.
        again: names of which it is sent the same again, unless it has rejected that.
        dirty: names to which something may have happened.
        missing: names that stand for nothing, as the client was told.
        leaving: what is gone, but not yet removed: names, with the time at which it is at the latest.
        released: what of that is to be removed now.
        unanswered: what was sent and neither accepted nor rejected yet, by nonce.
        rejections: what the client has rejected.
        settled: the last response that was answered was accepted.
        started: there was a request.
    """

    __slots__ = (
        "_resized",
        "again",
        "answer",
        "at",
        "covered",
        "dirty",
        "fresh",
        "leaving",
        "missing",
        "names",
        "reader",
        "rejections",
        "released",
        "settled",
        "started",
        "type_url",
        "unanswered",
        "wildcard",
    )

    def __init__(self, reader: Reader, type_url: str) -> None:
        self.reader = reader
        self.type_url = type_url
        self.names = EMPTY
        self.wildcard = False
        self.covered = EMPTY
        self.at = 0
        self.fresh = self.again = self.dirty = self.missing = EMPTY
        self.leaving: dict[str, float] = {}
        self.released = EMPTY
        self.unanswered: dict[str, tuple[Resource, ...]] = {}
        self.rejections = Rejections()
        self.settled = True
        self.started = self.answer = self._resized = False

    @abstractmethod
    def receive(self, request: Any) -> None:
        """Takes in a request. See Stream.receive."""

    @abstractmethod
    def compose(self, nonce: str, told: int, now: float) -> Response | None:
        """Makes the next response; None if nothing is due. `told`: generation up to which changes were told."""

    @abstractmethod
    def heartbeat(self, nonce: str) -> bytes | None:
        """Makes a response that says that what has a TTL is as it was; None if there is nothing of which to say it.

        To be called if it is `idle`.
        """

    @property
    def due(self) -> bool:
        """Whether a response may be due."""
        return bool(self.answer or self.dirty or self.fresh or self.again or self._resized or self.released)

    @property
    def asked(self) -> bool:
        """Whether the client waits for what it has asked for."""
        return bool(self.answer or self.fresh)

    async def build(self) -> None:
        """Has what the next response needs built, and lets others run meanwhile: it may be thousands of resources."""
        if self.at and len(self.fresh) + len(self.again) + len(self.dirty) <= SLICE:
            return
        wanted = self.fresh | self.again | self.dirty
        if not self.at:
            wanted = self.names | self._covering() if self.wildcard else self.names
        if len(wanted) <= SLICE:
            return
        for number, name in enumerate(wanted, 1):
            self.get(name)
            if number % SLICE == 0:
                await asyncio.sleep(0)

    @property
    def idle(self) -> bool:
        """Whether everything was sent, and answered."""
        return not self.unanswered and not self.due

    @property
    def quiet(self) -> bool:
        """Whether the client uses what there is."""
        return self.settled and self.idle

    @property
    def all_names(self) -> frozenset[str]:
        """Everything that it is subscribed to."""
        return self.names | self.covered if self.wildcard else self.names

    def get(self, name: str) -> Resource | None:
        """Returns what a name stands for now."""
        return self.reader.source.get(self.type_url, name, self.reader.node)

    def touch(self, names: frozenset[str], *, own: bool) -> bool:
        """Notes that something may have happened to names, and if `own` to the client's own service.

        Returns whether something may be due.
        """
        touched = names & self.names
        if self.wildcard:
            touched |= names & self.covered
            self._resized = self._covering() is not self.covered
        if own:
            depends = self.reader.source.depends_on_node
            touched |= frozenset(filter(depends, self.all_names))
        if touched:
            self.dirty = self.dirty | touched if self.dirty else touched
        return bool(touched) or self._resized

    def outgrown(self) -> None:
        """Notes if the wildcard covers something else by now, which a change is yet to tell of."""
        self._resized = self._resized or (self.wildcard and self._covering() is not self.covered)

    def send_again(self, names: Iterable[str]) -> None:
        """Has the same sent again, of those names that it is subscribed to."""
        self.again = self.again.union(name for name in names if name in self.names or name in self.covered)

    def release(self, now: float, *, settled: bool) -> None:
        """Has removed what is gone: if what referred to it is `settled`, all of it."""
        if self.leaving:
            self.released = frozenset(name for name, until in self.leaving.items() if settled or now >= until)

    def answered(self, nonce: str, error: Any) -> bool:
        """Takes in the answer to a response; `error` is a google.rpc.Status if it was rejected.

        Returns whether it was one that was waited for.
        """
        sent = self.unanswered.pop(nonce, None)
        if sent is None:
            return False
        self.settled = error is None
        if error is None:
            return True
        self.reader.counts.rejections += 1
        bad = blamed(self._suspects(sent), error.message) if sent else []
        for resource in bad:
            self.rejections.add(resource, error.message)
        names = ", ".join(resource.name for resource in bad[:5])
        _log.warning(
            "%r rejected %d of %s (%s): %.500r",
            *(self.reader.node.id, len(bad), self.type_url, names, error.message),
        )
        return True

    def _suspects(self, sent: tuple[Resource, ...]) -> Sequence[Resource]:
        """Returns which resources of a rejected response may be the reason."""
        return sent

    def _sent(self, nonce: str, resources: tuple[Resource, ...], told: int) -> None:
        """Notes that a response was made of everything that was due."""
        self.reader.counts.responses += 1
        self.unanswered[nonce] = resources
        if len(self.unanswered) > MAX_UNANSWERED:
            del self.unanswered[next(iter(self.unanswered))]
        self._looked(told)

    def _looked(self, told: int) -> None:
        """Notes that nothing is due any more."""
        self.at = max(self.at, told)
        self.answer = False
        for name in self.released:
            self.leaving.pop(name, None)
        self.fresh = self.again = self.dirty = self.released = EMPTY

    def _covering(self) -> frozenset[str]:
        return self.reader.source.names(self.type_url, self.reader.node)

    def _resize(self) -> frozenset[str]:
        """Looks at what the wildcard covers now. Returns what it did before, and nothing else does."""
        self._resized = False
        now = self._covering() if self.wildcard else EMPTY
        if now is self.covered:
            return EMPTY
        gone = self.covered - now
        self.again |= now - self.covered
        self.dirty |= gone & self.names
        self.covered = now
        gone -= self.names
        self.rejections.forget(gone)
        return gone

    def _look(self) -> tuple[list[Resource], list[str]]:
        """Returns the resources that are due, and the names of those that are gone, or never were, by name."""
        due, gone = [], []
        for name in sorted(self.fresh | self.again | self.dirty):
            resource = self.get(name)
            if resource is None:
                if name in self.fresh or name not in self.missing:
                    gone.append(name)
            elif resource not in self.rejections and self.pending(name, resource):
                due.append(resource)
        return due, gone

    def pending(self, name: str, resource: Resource) -> bool:
        """Whether what a name stands for now is to be sent, if it was not rejected."""
        return resource.generation > self.at or name in self.fresh or name in self.again or name in self.missing

    def _reach(self) -> frozenset[str]:
        """Returns all names that it is subscribed to, and those that the wildcard has come to cover since."""
        return self.all_names | self._covering() if self.wildcard else self.names

    def _trim(self) -> None:
        """Forgets what it is not subscribed to any more."""
        if not self.wildcard:
            self.covered = EMPTY
        kept = self._reach()
        self.fresh, self.again, self.dirty = self.fresh & kept, self.again & kept, self.dirty & kept
        self.missing &= self.names
        self.leaving = {name: until for name, until in self.leaving.items() if name in kept or self.wildcard}
        self.rejections.keep(kept)

    def _check(self, names: Collection[str], field: str) -> None:
        if len(names) > self.reader.max_names:
            raise InvalidField([FieldViolation(field, f"has at most {self.reader.max_names} names")])
        if any(len(name) > NAME_LENGTH for name in names):
            raise InvalidField([FieldViolation(field, f"has names of at most {NAME_LENGTH} characters")])
