"""Following the store: a view is told of every commit, in order, for as long as there are any."""

from __future__ import annotations

from typing import Protocol

from sira_grpc.store.api import Commit, StateStore


class Follower(Protocol):
    """An image of the store that is kept up to date."""

    def apply(self, commit: Commit) -> None:
        """Takes over what a commit has changed."""

    def close(self) -> None:
        """Nothing is applied any more: whoever waits for a revision is told so."""


async def follow(store: StateStore, view: Follower, *, after: int) -> None:
    """Applies every commit above a revision to a view; cancelled by its owner, it closes the view.

    It is of the whole store: who waits for a revision of it must not wait for the next one of a domain's own.

    Raises:
        RevisionCompacted: what follows `after` is forgotten: the view cannot be kept up to date.
        StoreUnavailable: the store was closed.
    """
    try:
        async for commit in store.watch("", after=after):
            view.apply(commit)
    finally:
        view.close()
