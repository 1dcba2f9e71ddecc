"""Committing: each commit is applied once, whatever becomes of the messages and their acknowledgements on the way.

Every message carries what it expects of its key, also where the caller does not care. So of two tries of one commit at
most one is applied, and a try that arrives late, after another commit of the same keys, is not. Whether one has been
applied shows in the mirror: by the commit's id.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress

from sira_grpc.store.api import Op
from sira_grpc.store.nats_envelope import Kind, StateMessage, encode_state
from sira_grpc.store.nats_errors import WRONG_LAST_SEQUENCE, Lost, Refused, unavailable
from sira_grpc.store.nats_gate import Gate
from sira_grpc.store.nats_link import Link
from sira_grpc.store.nats_mirror import Mirror, Tracked
from sira_grpc.store.nats_names import Names
from sira_grpc.store.nats_plan import Plan, make_plan
from sira_grpc.store.nats_publisher import Outgoing, Publisher
from sira_grpc.store.nats_reader import StreamReader
from sira_grpc.store.nats_turns import Turns

TRY_SECONDS = 1.5
"""An answer that has not come by then is asked for again."""
PAUSE_SECONDS = 0.1


class Commits:
    """Commits to the state's stream.

    Attributes:
        acknowledged: the last sequence that was acknowledged to this member.
    """

    def __init__(
        self, link: Link, names: Names, mirror: Mirror, gate: Gate, random_bytes: Callable[[int], bytes]
    ) -> None:
        self.acknowledged = 0
        self.link = link
        self._names = names
        self._mirror = mirror
        self._gate = gate
        self._random_bytes = random_bytes
        self._publisher = Publisher(link, random_bytes)
        self._reader = StreamReader(link, names.state)
        self._turns = Turns()

    async def commit(self, ops: Sequence[Op]) -> int:
        """See StateStore.commit, for operations that are well-formed. To be run to its end in a task of its own."""
        async with self._turns.of(op.key for op in ops):
            commit_id = self._random_bytes(16)
            work = _Commit(self, ops, commit_id, self._mirror.track(commit_id))
            try:
                return await work.run(self._gate.deadline())
            finally:
                self._mirror.untrack(commit_id)

    async def once(self, ops: Sequence[Op], work: _Commit, deadline: float) -> int | None:
        """Makes one try; returns the revision, None if it is to be tried again."""
        plan = make_plan(ops, work.commit_id, self._mirror, self._names, sure=work.sure)
        if plan is None:
            await self.catch_up(deadline)
            work.sure = True
            return None
        try:
            last = await self._publisher.publish(plan.messages, within=min(TRY_SECONDS, left(deadline)))
        except Lost as error:
            work.sent = work.sent or error.sent
            raise
        except Refused as error:
            if error.code not in WRONG_LAST_SEQUENCE:
                raise
            await self._learn(error, plan, work, deadline)
            return None
        self.acknowledged = max(self.acknowledged, last)
        with suppress(Lost):  # it is durable; whoever reads waits for the mirror
            await self._mirror.reached(last, left(deadline))
        return last if plan.changes else self._mirror.revision

    async def _learn(self, error: Refused, plan: Plan, work: _Commit, deadline: float) -> None:
        """Brings the mirror to where it knows what the server has refused a try for."""
        found = error.last_sequence
        if found is not None and found > self._mirror.position:
            await self._mirror.reached(found, left(deadline))
            return
        await self.catch_up(deadline)
        work.sure = True
        for key in plan.doubtful:
            if not self._mirror.revision_of(key) and await self._reader.last(self._names.subject(key)) is None:
                self._mirror.forget_deletion(key)

    async def probe(self) -> int:
        """Writes a message that changes nothing, and returns its sequence.

        Raises:
            Lost, Refused: it did not go through.
        """
        payload = encode_state(self._names.checks, StateMessage(Kind.CHECK, self._random_bytes(16), 1, 1, b""))
        mark = Outgoing(self._names.checks, payload, self._mirror.mark.sequence, of_subject=self._names.mark)
        return await self._publisher.publish([mark], within=TRY_SECONDS)

    async def sync(self) -> int:
        """Returns the revision once the mirror has everything that was acknowledged to anybody before. See StateStore.

        To be run to its end in a task of its own.
        """
        deadline, trouble = self._gate.deadline(), "time is up"
        while asyncio.get_running_loop().time() < deadline:
            try:
                await self.link.up(deadline)
                await self._mirror.reached(await self.probe(), left(deadline))
                return self._mirror.revision
            except (Lost, Refused) as error:
                trouble = str(error)
            await asyncio.sleep(min(PAUSE_SECONDS, left(deadline)))
        raise unavailable(trouble)

    async def catch_up(self, deadline: float) -> None:
        """Returns once the mirror has everything that the stream's leader has.

        Raises:
            Lost, Refused: the leader does not answer.
        """
        info = await self.link.api(f"STREAM.INFO.{self._names.state}", within=min(TRY_SECONDS, left(deadline)))
        await self._mirror.reached(int(info["state"]["last_seq"]), left(deadline))


class _Commit:
    """One commit on its way.

    Attributes:
        sent: a try was sent of which nothing has been heard.
        sure: the mirror has caught up with what was there when the commit began.
    """

    def __init__(self, commits: Commits, ops: Sequence[Op], commit_id: bytes, tracked: Tracked) -> None:
        self.commit_id = commit_id
        self.sent = False
        self.sure = False
        self._commits = commits
        self._ops = ops
        self._tracked = tracked

    async def run(self, deadline: float) -> int:
        """Tries until it is known what has become of it, or time is up."""
        trouble: Exception = Lost("time is up", sent=False)
        while asyncio.get_running_loop().time() < deadline:
            try:
                await self._commits.link.up(deadline)
                if not self._tracked.applied:
                    revision = await self._commits.once(self._ops, self, deadline)
                    if revision is not None:
                        return revision
                if self._tracked.applied:
                    return self._tracked.applied
                continue
            except (Lost, Refused) as error:
                trouble = error
            await asyncio.sleep(min(PAUSE_SECONDS, left(deadline)))
            if self.sent:
                # The try may be in the stream: only then is it worth looking before the next.
                with suppress(Lost, Refused):
                    await self._commits.catch_up(deadline)
        if self._tracked.applied:
            return self._tracked.applied
        raise unavailable(str(trouble), sent=self.sent)


def left(deadline: float) -> float:
    """Seconds until a time of the event loop; at least a little."""
    return max(0.001, deadline - asyncio.get_running_loop().time())
