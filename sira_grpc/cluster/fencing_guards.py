"""Whether the fencing tokens that come with calls are good still, by the locks in the view, and the store."""

from __future__ import annotations

import re
from collections.abc import Sequence

from sira_grpc.cluster import lock_names
from sira_grpc.cluster.lock_view import LockEntry, LockView
from sira_grpc.errors import Conflict, FencingTokenStale, FieldViolation, InvalidField
from sira_grpc.fencing import MAX_FENCES
from sira_grpc.store.api import ABSENT, Check, Store

FIELD = "metadata sira-fencing"
ATTEMPTS = 32
"""Looks at a lock whose queue changes meanwhile."""
_ID = "[a-z](?:[-a-z0-9]{0,61}[a-z0-9])?"
_FENCE = re.compile(rf"(namespaces/{_ID}/(?:locks|elections)/{_ID})=([1-9][0-9]{{0,17}})")


class Fences:
    """Makes guards of tokens."""

    def __init__(self, view: LockView, store: Store) -> None:
        self._view = view
        self._store = store

    def guard(self, values: Sequence[str]) -> CallGuard:
        """Returns the guard of a call that came with tokens, at least one.

        Raises:
            InvalidField: a value is no token, or they are too many.
        """
        if len(values) > MAX_FENCES:
            raise InvalidField([FieldViolation(FIELD, f"must be there at most {MAX_FENCES} times")])
        tokens: dict[str, int] = {}
        for value in values:
            match = _FENCE.fullmatch(value)
            if match is None:
                rule = "must be namespaces/{namespace}/locks/{lock}={token}, or an election and its term"
                raise InvalidField([FieldViolation(FIELD, rule)])
            key = lock_names.key_of(match[1])
            if tokens.setdefault(key, int(match[2])) != int(match[2]):
                raise InvalidField([FieldViolation(FIELD, "must have one token for a lock")])
        return CallGuard(self._view, self._store, tokens)


class CallGuard:
    """The tokens of one call, by the keys of their locks. See fencing.Guard."""

    def __init__(self, view: LockView, store: Store, tokens: dict[str, int]) -> None:
        self._view = view
        self._store = store
        self._tokens = tokens

    def refuse_stale(self) -> None:
        """See Guard. Where there are other members, a token may be newer than what this one knows: then it passes."""
        for key, token in self._tokens.items():
            entry = self._view.entries.get(key)
            if entry is None or token > entry.record.last_token:
                stale = not self._store.shared
            else:
                stale = not _holds(entry, token)
            if stale:
                raise _stale(key)

    async def checks(self) -> Sequence[Check]:
        """See Guard."""
        return [await self._check(key, token) for key, token in self._tokens.items()]

    async def _check(self, key: str, token: int) -> Check:
        for _ in range(ATTEMPTS):
            self.refuse_stale()
            entry = self._view.entries.get(key)
            check = Check(key, entry.revision if entry is not None else ABSENT)
            if entry is not None and _holds(entry, token):
                return check
            # Whoever has the token got it before this call: if the store has nothing newer, it is over.
            try:
                await self._store.commit([check])
            except Conflict:
                await self.caught_up(self._store.revision)
            else:
                raise _stale(key)
        raise _busy()

    async def caught_up(self, revision: int) -> None:
        """See Guard."""
        await self._view.caught_up(revision)

    async def verify(self) -> None:
        """See Guard."""
        for _ in range(ATTEMPTS):
            checks = await self.checks()
            try:
                await self._store.commit(checks)
            except Conflict:
                await self.caught_up(self._store.revision)
            else:
                return
        raise _busy()


def _holds(entry: LockEntry, token: int) -> bool:
    return any(holder.token == token for holder in entry.record.holders)


def _stale(key: str) -> FencingTokenStale:
    name = lock_names.name_of(key)
    return FencingTokenStale(
        f"{name} has gone on: the token is not that of a holder any more", metadata={"resource": name}
    )


def _busy() -> Conflict:
    return Conflict("the locks that fence this call change too fast; try again", retry_after=0.1)
