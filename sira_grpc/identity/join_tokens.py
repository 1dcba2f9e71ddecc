"""Join tokens: created by operators, used up by those who join."""

from __future__ import annotations

import hmac
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sira.identity.internal.v1.join_token_record_pb2 import JoinTokenRecord
from sira.identity.v1.join_token_pb2 import JoinToken

from sira_grpc.clock import Clock
from sira_grpc.commits import MAX_CHANGES, Commits
from sira_grpc.errors import FieldViolation, InvalidField, JoinTokenInvalid, JoinTokenNotFound
from sira_grpc.identity import names
from sira_grpc.identity.keyring import Keyring
from sira_grpc.identity.view import IdentityView, Token
from sira_grpc.pages import take_page
from sira_grpc.store.api import ABSENT, Check, Delete, Op, Put
from sira_grpc.svid.join_secret import SECRET_BYTES, JoinSecret, fingerprint
from sira_grpc.svid.spiffe_id import SCHEME, check_pattern
from sira_grpc.times import NANOS, timestamp

DEFAULT_TTL = 3600.0
TOKEN_BYTES = 5


class JoinTokens:
    """The commands on join tokens, and their use.

    Args:
        view: of the store.
        commits: writes.
        keyring: knows the root whose fingerprint goes with a secret.
        trust_domain: that tokens are for.
        clock: the time.
        random_bytes: unpredictable.
    """

    def __init__(
        self,
        view: IdentityView,
        commits: Commits,
        keyring: Keyring,
        *,
        trust_domain: str,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._view = view
        self._commits = commits
        self._keyring = keyring
        self._trust_domain = trust_domain
        self._clock = clock
        self._random_bytes = random_bytes
        self._reserved: dict[str, set[int]] = defaultdict(set)

    async def create(self, asked: JoinToken, *, ttl: float, actor: str) -> tuple[JoinToken, JoinSecret]:
        """Creates a token. Returns it and its secret, which is not kept.

        Raises:
            InvalidField: a pattern is malformed, or of another trust domain.
        """
        self._check(asked)
        now_ns = self._clock.time_ns()
        token = self._random_bytes(TOKEN_BYTES).hex()
        authority = self._keyring.shown()
        secret = JoinSecret(token, self._random_bytes(SECRET_BYTES).hex(), fingerprint(authority.root))
        made = JoinToken()
        made.CopyFrom(asked)
        made.name = names.TOKEN_NAME + token
        made.max_uses = asked.max_uses or 1
        made.uses = 0
        made.creator = actor
        made.create_time.CopyFrom(timestamp(now_ns))
        made.expire_time.CopyFrom(timestamp(now_ns + round(ttl * NANOS)))
        record = JoinTokenRecord(join_token=made, secret_sha256=secret.digest, authority=authority.id)
        ops = [Put(names.token_key(token), record.SerializeToString(), ABSENT)]
        await self._commits.run(self._commits.write(ops))
        return self.describe(self._view.tokens[token]), secret

    async def delete(self, name: str) -> None:
        """Deletes a token.

        Raises:
            JoinTokenNotFound.
        """
        token = name.removeprefix(names.TOKEN_NAME)

        def plan() -> list[Op]:
            entry = self._view.tokens.get(token)
            if entry is None or entry.record is None:
                raise JoinTokenNotFound(f"{name} is not there", metadata={"resource": name})
            return [Delete(names.token_key(token), entry.revision)]

        await self._commits.run(self._commits.apply(plan))  # no use is written after it: each checks the token
        await self._commits.run(self._delete_uses(token))

    async def page(self, *, size: int, token: str) -> tuple[list[JoinToken], str]:
        """Lists tokens by name. Raises: InvalidPageToken."""

        def load(name: str) -> JoinToken | None:
            entry = self._view.tokens.get(name)
            return self.describe(entry) if entry is not None and entry.record is not None else None

        there = [token_id for token_id, entry in self._view.tokens.items() if entry.record is not None]
        return await take_page(there, load, None, size=size, token=token, query="joinTokens")

    @staticmethod
    def describe(entry: Token) -> JoinToken:
        """Returns a token that is there, with how often it was used."""
        assert entry.record is not None, "it is there"
        described = JoinToken()
        described.CopyFrom(entry.record.join_token)
        described.uses = len(entry.uses)
        return described

    @property
    def usable(self) -> int:
        """How many can still be used."""
        now_ns = self._clock.time_ns()
        return sum(
            entry.record is not None and self._left(entry, now_ns) for entry in tuple(self._view.tokens.values())
        )

    def find(self, text: str) -> JoinToken:
        """Returns the token that a secret is of.

        Raises:
            JoinTokenInvalid: it is none, or is expired or used up. Who does not have the secret is not told which.
        """
        try:
            secret = JoinSecret.parse(text)
        except ValueError as error:
            raise JoinTokenInvalid(f"join_token: {error}") from error
        entry = self._view.tokens.get(secret.token)
        record = entry.record if entry is not None else None
        digest = record.secret_sha256 if record is not None else bytes(32)
        if not hmac.compare_digest(digest, secret.digest) or entry is None or record is None:
            raise JoinTokenInvalid(
                "join_token: there is no such token: it was never created, was deleted, or has expired"
            )
        if record.join_token.expire_time.ToNanoseconds() <= self._clock.time_ns():
            raise JoinTokenInvalid("join_token: has expired; have another one created")
        if self._free_slot(secret.token, record.join_token) is None:
            raise JoinTokenInvalid(
                f"join_token: was used {record.join_token.max_uses} of {record.join_token.max_uses} times"
            )
        return record.join_token

    @contextmanager
    def use(self, token: JoinToken) -> Iterator[Callable[[str], list[Op]]]:
        """Reserves one use. Gives what makes the operations that use it up, for the serial that it is used for.

        The reservation keeps the uses at this member apart; those at others meet in the store, where each slot is
        written once. The slot is free again at the end of the block: what was committed by then is in the view.

        Raises:
            JoinTokenInvalid: there is none left. Made by what is given too, when another member has used it up, or the
                token was deleted.
        """
        token_id = token.name.removeprefix(names.TOKEN_NAME)
        slot = self._reserve(token_id, token)

        def ops(serial: str) -> list[Op]:
            nonlocal slot
            entry = self._view.tokens.get(token_id)
            if entry is None or entry.record is None:
                raise JoinTokenInvalid("join_token: was deleted")
            if slot in entry.uses:  # by another member
                # Anywhere among those that are left: so that members do not meet again and again.
                taken, start = slot, int.from_bytes(self._random_bytes(4)) % token.max_uses
                slot = self._reserve(token_id, token, start)
                self._release(token_id, taken)
            key = names.use_key(token_id, slot)
            return [Check(names.token_key(token_id), entry.revision), Put(key, serial.encode(), ABSENT)]

        try:
            yield ops
        finally:
            self._release(token_id, slot)

    async def sweep(self, *, before_ns: int) -> None:
        """Deletes tokens that expired before a time, and what is left of those that were deleted."""
        for token, entry in tuple(self._view.tokens.items()):
            if entry.record is None:
                await self._delete_uses(token)
            elif entry.record.join_token.expire_time.ToNanoseconds() < before_ns:
                await self._commits.write([Delete(names.token_key(token))])
                await self._delete_uses(token)

    async def _delete_uses(self, token: str) -> None:
        while token in self._view.tokens and self._view.tokens[token].uses:
            slots = list(self._view.tokens[token].uses)[:MAX_CHANGES]
            await self._commits.write([Delete(names.use_key(token, slot)) for slot in slots])

    def _reserve(self, token_id: str, token: JoinToken, start: int = 0) -> int:
        slot = self._free_slot(token_id, token, start)
        if slot is None:
            raise _used_up(token)
        self._reserved[token_id].add(slot)
        return slot

    def _release(self, token_id: str, slot: int) -> None:
        self._reserved[token_id].discard(slot)
        if not self._reserved[token_id]:
            del self._reserved[token_id]

    def _free_slot(self, token_id: str, token: JoinToken, start: int = 0) -> int | None:
        """A slot that is neither used nor reserved; None if there is none. Slots fill up from 0.

        Args:
            token_id, token: see use().
            start: a slot from which one is looked for upwards, if there is one; 0 for the usual order.
        """
        entry = self._view.tokens.get(token_id)
        used = entry.uses if entry is not None else {}
        reserved = self._reserved.get(token_id, set())
        taken = len(used) + sum(slot not in used for slot in reserved)
        if taken >= token.max_uses:
            return None
        for slot in range(start, token.max_uses if start else 0):
            if slot not in used and slot not in reserved:
                return slot
        # Of the slots up to this one, so many are taken, and that is one less than there are.
        return next(slot for slot in range(taken, -1, -1) if slot not in used and slot not in reserved)

    def _left(self, entry: Token, now_ns: int) -> bool:
        if entry.record is None:
            return False
        token = entry.record.join_token
        verifies = entry.record.authority == self._keyring.shown().id
        return verifies and token.expire_time.ToNanoseconds() > now_ns and len(entry.uses) < token.max_uses

    def _check(self, asked: JoinToken) -> None:
        broken = []
        for field in ("identities", "delegated"):
            for index, pattern in enumerate(getattr(asked, field)):
                rule = self._broken_rule(pattern)
                if rule:
                    broken.append(FieldViolation(f"join_token.{field}[{index}]", rule))
        if broken:
            raise InvalidField(broken)

    def _broken_rule(self, pattern: str) -> str:
        try:
            check_pattern(pattern)
        except ValueError as error:
            return str(error)
        if not pattern.startswith(f"{SCHEME}{self._trust_domain}/"):
            return f"must be of the trust domain {self._trust_domain}"
        return ""


def _used_up(token: JoinToken) -> JoinTokenInvalid:
    return JoinTokenInvalid(f"join_token: was used {token.max_uses} of {token.max_uses} times")
