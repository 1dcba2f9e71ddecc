"""Opening: fills the view from the store, follows it, and founds the trust domain or opens its keys."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from sira_grpc.background import Background
from sira_grpc.clock import Clock
from sira_grpc.commits import Commits
from sira_grpc.config import IdentityConfig
from sira_grpc.following import follow
from sira_grpc.identity import names
from sira_grpc.identity.forge import Forge, Terms
from sira_grpc.identity.founding import Founder
from sira_grpc.identity.keyring import Keyring
from sira_grpc.identity.members import Members
from sira_grpc.identity.sealing import Sealer
from sira_grpc.identity.view import IdentityView
from sira_grpc.store.api import Store


@dataclass(frozen=True, slots=True)
class Opened:
    """What every part of identity stands on.

    Attributes:
        founded: the trust domain was founded just now, by this member.
        members: the others on the same store.
        shared: whether there may be others.
        background: runs the tasks.
        following: the one that feeds the view.
    """

    view: IdentityView
    commits: Commits
    forge: Forge
    founder: Founder
    sealer: Sealer
    keyring: Keyring
    founded: bool
    members: Members
    shared: bool
    background: Background
    following: asyncio.Task[None]

    async def close(self) -> None:
        """Stops the tasks, then finishes the commands under way, then stops feeding the view."""
        await self.background.cancel(but=self.following)
        await self.commits.close()
        await self.background.cancel()


async def open_view(
    store: Store, config: IdentityConfig, members: Members, *, clock: Clock, random_bytes: Callable[[int], bytes]
) -> Opened:
    """Opens what is in the store.

    Raises:
        ConfigError: the keys cannot be opened, or the configuration does not fit the store.
        StoreUnavailable: nothing can be written.
    """
    view = IdentityView()
    snapshot = await store.snapshot(names.PREFIX)
    view.load(snapshot)
    commits, background = Commits(store, view), Background()
    following = background.own(follow(store, view, after=snapshot.revision), "identity view")
    try:
        terms = Terms(config.trust_domain, config.root_ttl, config.intermediate_ttl, config.clock_skew)
        forge = Forge(terms, random_bytes)
        founder = Founder(view, commits, forge, config, clock=clock, random_bytes=random_bytes)
        sealer = await founder.open()
        keyring = Keyring(view, sealer)
        await asyncio.to_thread(keyring.trusted)  # what cannot be opened ends the start
        return Opened(
            view,
            commits,
            forge,
            founder,
            sealer,
            keyring,
            founder.founded,
            members,
            store.shared,
            background,
            following,
        )
    except BaseException:
        await background.cancel()
        raise
