"""What a member has to do with the others at its edge, put together: forwards their calls, and asks them."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping

from sira_grpc.clock import Clock
from sira_grpc.rpc.forwarding.attempts import Reach
from sira_grpc.rpc.forwarding.forwarder import Forwarder
from sira_grpc.rpc.forwarding.peer_calls import PeerCalls
from sira_grpc.rpc.forwarding.peer_credentials import MemberTrust, peer_credentials
from sira_grpc.rpc.forwarding.peer_drains import PeerDrains
from sira_grpc.rpc.forwarding.peer_loads import PeerLoads, RemoteLoads
from sira_grpc.rpc.forwarding.peers import Addresses, Members, Peers
from sira_grpc.rpc.forwarding.remote_publish import RemotePublish
from sira_grpc.rpc.forwarding.routes import ROUTES, UnitOf
from sira_grpc.rpc.forwarding.signature import Signer


class Forwarding:
    """See the module. Must be made on the event loop that it runs on; `close` it.

    Args:
        placement: which member has which work, and who is live.
        addresses: where members are reached.
        trust: how members know each other.
        timeout: seconds for which a call is tried to be forwarded.
        clock, rng: time, and the variation of pauses.
        routes: what is forwarded.

    Attributes:
        signer: signs calls, and verifies the signatures of others.
        forwarder: forwards calls.
        peer_drains: the registry's Peers.
        remote_publish: the bus's RemotePublish.
        failed: a task has ended that must not.

    Raises:
        ConfigError: how members serve leaves no way to trust each other.
    """

    def __init__(
        self,
        *,
        placement: Members,
        addresses: Addresses,
        trust: MemberTrust,
        timeout: float,
        clock: Clock,
        rng: random.Random,
        routes: Mapping[str, UnitOf] = ROUTES,
    ) -> None:
        self.identity = trust.identity
        self.methods = frozenset(routes)
        self.failed = asyncio.Event()
        self.signer = Signer(trust.secret, placement.member, clock)
        self._placement = placement
        self._peers = Peers(placement, addresses, peer_credentials(trust), trust.server)
        calls = PeerCalls(self._peers, self.signer, placement.member)
        reach = Reach(placement, self._peers, timeout, clock, rng)
        self.forwarder = Forwarder(routes, reach, self.signer)
        self.remote_publish = RemotePublish(reach, self.signer)
        self.peer_drains = PeerDrains(calls, clock)
        self._loads = PeerLoads(calls, self.failed.set)
        placement.changed.append(self._loads.members_changed)

    def start(self, loads: RemoteLoads) -> None:
        """Follows the loads that are reported to other members, from here on."""
        self._loads.start(loads)

    async def close(self) -> None:
        """Ends every call at other members and closes the connections to them. Idempotent."""
        if self._loads.members_changed in self._placement.changed:
            self._placement.changed.remove(self._loads.members_changed)
        await self._loads.close()
        await self._peers.close()
