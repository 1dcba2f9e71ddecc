"""The frames of a producer from when they are complete until they are answered, in the order of sending."""

from __future__ import annotations

import asyncio
from collections import deque
from itertools import chain

from sira.bus.v1.publish_service_pb2 import PublishFramesResponse

from sira_client.bus.durability import durability_name
from sira_client.bus.outgoing import OutgoingFrame
from sira_client.bus.room import Room
from sira_client.bus.sequences import Sequences
from sira_client.errors import SiraError, UnavailableError

_UNASKED = UnavailableError("the kernel answered what was not sent")


class Outbox:
    """Frames that wait, and frames that were sent and are not answered.

    A stream that fails may have been answered more than has arrived: the status overtakes answers. So the first frame
    without an answer need not be the one at fault. What is then in question is sent once more, frame by frame: what
    was taken before is known by its number, and whatever fails is at fault.

    Args:
        window: frames that may be sent and not answered.
        sequences: numbers the frames.
        room: where their sizes go when they are answered.
    """

    def __init__(self, window: int, sequences: Sequences, room: Room) -> None:
        self._window = window
        self._sequences = sequences
        self._room = room
        self._waiting: deque[OutgoingFrame] = deque()
        self._sent: deque[OutgoingFrame] = deque()
        self._in_question = 0
        self.news = asyncio.Event()

    def __bool__(self) -> bool:
        """Whether there are frames that are not answered."""
        return bool(self._waiting or self._sent)

    @property
    def sent(self) -> bool:
        """Whether any answer is to come."""
        return bool(self._sent)

    @property
    def waiting(self) -> bool:
        """Whether any frame waits to be sent."""
        return bool(self._waiting)

    @property
    def last(self) -> OutgoingFrame | None:
        """The frame that is answered last of those that are here."""
        return self._waiting[-1] if self._waiting else self._sent[-1] if self._sent else None

    def put(self, frame: OutgoingFrame) -> None:
        """Takes a frame."""
        self._waiting.append(frame)
        self.news.set()

    @property
    def open(self) -> bool:
        """Whether another frame may be sent before an answer comes."""
        return len(self._sent) < (1 if self._in_question else self._window)

    def next(self) -> OutgoingFrame | None:
        """The next frame to send, numbered; None if there is none, or an answer has to come first."""
        if not self._waiting or not self.open:
            return None
        frame = self._waiting.popleft()
        self._sequences.number(frame)
        self._sent.append(frame)
        return frame

    def answered(self, response: PublishFramesResponse) -> None:
        """The first frame that was sent is taken.

        Raises:
            UnavailableError: none was sent.
        """
        if not self._sent:
            raise _UNASKED
        frame = self._leave()
        durability = durability_name(response.durability)
        frame.acknowledge(response.offset, response.count, durability, duplicate=response.duplicate)

    def refused(self, frame: OutgoingFrame, error: SiraError) -> None:
        """A frame that was taken out by `next`, the last one, cannot be sent at all."""
        self._sent.pop()
        self._sequences.take_back(frame, self._waiting)
        self._room.give(frame.size)
        self._in_question = max(0, self._in_question - 1)
        frame.fail(error)

    def lost(self) -> None:
        """The stream was lost: what was not answered is sent again."""
        self._waiting.extendleft(reversed(self._sent))
        self._sent.clear()

    def at_fault(self, error: SiraError) -> None:
        """The stream ended for what one of the frames is, or for its number."""
        if len(self._sent) != 1:
            self._in_question = len(self._sent)
            self.lost()
            return
        frame = self._sent[0]
        if error.reason == "SEQUENCE_GAP" and frame.sequence > 1:
            # The kernel does not know the producer any more, and nothing of what came before.
            self._sequences.restart(frame.partition, chain(self._sent, self._waiting))
            self.lost()
            return
        self._leave()
        self._sequences.take_back(frame, self._waiting)
        frame.fail(error)

    def fail_all(self, error: SiraError) -> None:
        """Gives up all frames."""
        self.lost()
        frames, self._waiting = self._waiting, deque()
        self._in_question = 0
        self._sequences.restart_all()
        for frame in frames:
            self._room.give(frame.size)
            frame.fail(error)

    def _leave(self) -> OutgoingFrame:
        frame = self._sent.popleft()
        self._in_question = max(0, self._in_question - 1)
        self._room.give(frame.size)
        self.news.set()
        return frame
