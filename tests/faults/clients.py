"""Connections to the members of a world, as programs without the client library have them."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from grpc import aio
from sira_client.dialing import MEMBER

OPTIONS = (
    *MEMBER,
    ("grpc.use_local_subchannel_pool", 1),  # a connection for each channel
    ("grpc.max_receive_message_length", 16 << 20),
)
CALL_SECONDS = 8
"""After which a client gives up on a call: longer than the store is without a leader after one has died."""


class Clients:
    """A channel to each member.

    Args:
        channels: them.
        rng: chooses.
    """

    def __init__(self, channels: Sequence[aio.Channel], rng: random.Random) -> None:
        self.channels = channels
        self._rng = rng

    def any(self) -> aio.Channel:
        """Returns one of them."""
        return self._rng.choice(self.channels)


@asynccontextmanager
async def connected(addresses: Sequence[str], rng: random.Random) -> AsyncIterator[Clients]:
    """Has channels for the length of the block."""
    async with AsyncExitStack() as stack:
        channels = [
            await stack.enter_async_context(aio.insecure_channel(address, options=OPTIONS)) for address in addresses
        ]
        yield Clients(channels, rng)
