"""The NATS client, without the connections that nats-py leaves open after a try to connect that failed."""

from __future__ import annotations

from typing import Any

from nats.aio.client import Client


class NatsClient(Client):
    """nats-py's client. A frozen server accepts connections and says nothing: each try leaves one behind."""

    async def _connect_to_server(self, s: Any) -> None:
        if self._transport:
            self._transport.close()  # type: ignore[no-untyped-call]  # nats-py's own
        await super()._connect_to_server(s)
