"""The connection to a NATS cluster: requests with a deadline, each of which ends as soon as the connection does."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from nats.aio.msg import Msg
from nats.errors import Error as NatsError

from sira_grpc.store.nats_client import NatsClient
from sira_grpc.store.nats_errors import Lost, Refused, closed, unavailable
from sira_grpc.store.nats_options import NatsOptions
from sira_grpc.store.nats_waiting import Waiting

CONNECT_SECONDS = 2
RECONNECT_SECONDS = 0.1
PING_SECONDS = 1
"""A server that answers none of two pings is given up: a frozen one is noticed within about 3 s."""
FLUSH_SECONDS = 2.0
PENDING_BYTES = 32 << 20
"""What may wait to be sent: the largest commit, with room to spare."""


_log = logging.getLogger(__name__)


class Link:
    """A connection that comes back by itself, for ever. Made by connect, in the event loop that is to use it.

    Attributes:
        reconnected: called when the connection has come back.
    """

    def __init__(self) -> None:
        self.reconnected: list[Callable[[], None]] = []
        self.client = NatsClient()
        self._up = asyncio.Event()
        self._inbox = ""
        self._count = 0
        self._waiting: dict[str, Waiting] = {}
        self._closed = False
        self._reported = ""

    @property
    def connected(self) -> bool:
        """Whether there is a connection now."""
        return self._up.is_set()

    async def connect(self, options: NatsOptions, *, within: float) -> None:
        """Connects.

        Raises:
            StoreUnavailable: no server can be reached within so many seconds, or they refuse the credentials.
        """
        try:
            async with asyncio.timeout(within):  # the client itself tries for ever
                await self.client.connect(servers=options.urls, **self._settings(options), **_credentials(options))
        except TimeoutError:
            trouble = self._reported or "no answer"
            raise unavailable(f"no server of {options.url} could be reached in {within:g} s ({trouble})") from None
        except (OSError, NatsError, ValueError) as error:
            raise unavailable(
                f"no server of {options.url} could be reached ({error or type(error).__name__})"
            ) from error
        self._inbox = self.client.new_inbox()
        await self.subscribe(f"{self._inbox}.*", self._answered)
        self._up.set()

    def _settings(self, options: NatsOptions) -> dict[str, Any]:
        return {
            "name": f"sira ({options.prefix})",
            "error_cb": self._report,
            "disconnected_cb": self._on_disconnected,
            "reconnected_cb": self._on_reconnected,
            "connect_timeout": CONNECT_SECONDS,
            "reconnect_time_wait": RECONNECT_SECONDS,
            "max_reconnect_attempts": -1,
            "ping_interval": PING_SECONDS,
            "max_outstanding_pings": 2,
            "pending_size": PENDING_BYTES,
            "flush_timeout": FLUSH_SECONDS,
            "skip_subject_validation": True,
        }

    async def close(self) -> None:
        """Ends the connection, and every request with it. Idempotent."""
        self._closed = True
        self._up.set()  # whoever waits for it finds it closed
        self._lose_all("the store was closed")
        if not self.client.is_closed:
            await self.client.close()

    async def subscribe(self, subject: str, heard: Callable[[Msg], Any]) -> Any:
        """Subscribes; `heard` is a coroutine function that gets each message. Returns what unsubscribe() is called on.

        What waits to be heard is bounded by what was asked for, not here: dropped messages would look like silence.
        """
        try:
            return await self.client.subscribe(subject, cb=heard, pending_msgs_limit=0, pending_bytes_limit=0)
        except NatsError as error:
            raise Lost(str(error), sent=False) from error

    async def up(self, deadline: float) -> None:
        """Returns once there is a connection.

        Raises:
            Lost: there is none by the deadline, in the event loop's time.
            StoreUnavailable: it was closed.
        """
        if not self._up.is_set():
            try:
                async with asyncio.timeout_at(deadline):
                    await self._up.wait()
            except TimeoutError:
                raise Lost("there is no connection to any server", sent=False) from None
        if self._closed:
            raise closed()

    async def send(
        self, subject: str, payload: bytes = b"", headers: Mapping[str, str] | None = None, reply: str = ""
    ) -> None:
        """Sends a message; whether it arrives is not known.

        Raises:
            Lost: it could not be sent.
            StoreUnavailable: it was closed.
        """
        if self._closed:
            raise closed()
        if not self.connected:
            raise Lost("there is no connection to any server", sent=False)
        try:
            await self.client.publish(subject, payload, reply=reply, headers=dict(headers) if headers else None)
        except NatsError as error:
            raise Lost(f"{type(error).__name__} {error}", sent=False) from error

    async def request(
        self, subject: str, payload: bytes, *, within: float, headers: Mapping[str, str] | None = None
    ) -> Msg:
        """Sends a message and returns the answer.

        Raises:
            Lost: there was none within so many seconds, nobody listens, or the connection went.
            StoreUnavailable: it was closed.
        """
        return (await self._ask(subject, payload, headers, within=within, many=False))[0]

    async def request_many(self, subject: str, payload: bytes, *, within: float) -> Sequence[Msg]:
        """Sends a message and returns the answers before the one that ends a batch, none where nothing is found.

        Raises:
            Lost: no further answer came within so many seconds, or the connection went.
            StoreUnavailable: it was closed.
        """
        return await self._ask(subject, payload, None, within=within, many=True)

    async def api(self, call: str, body: Mapping[str, Any] | None = None, *, within: float) -> dict[str, Any]:
        """Calls JetStream's API and returns the answer.

        Raises:
            Refused: the answer is an error.
            Lost: no answer came.
            StoreUnavailable: it was closed.
        """
        payload = json.dumps(body).encode() if body is not None else b""
        return answer(await self.request(f"$JS.API.{call}", payload, within=within))

    async def _ask(
        self, subject: str, payload: bytes, headers: Mapping[str, str] | None, *, within: float, many: bool
    ) -> list[Msg]:
        self._count += 1
        token = str(self._count)
        waiting = self._waiting[token] = Waiting(within, many=many)
        try:
            await self.send(subject, payload, headers, f"{self._inbox}.{token}")
            return await waiting.future
        finally:
            waiting.end()
            del self._waiting[token]

    async def _answered(self, message: Msg) -> None:
        waiting = self._waiting.get(message.subject.rpartition(".")[2])
        if waiting is not None:
            waiting.take(message)

    async def _on_disconnected(self) -> None:
        self._up.clear()
        self._lose_all("the connection was lost")

    async def _on_reconnected(self) -> None:
        self._up.set()
        for call in self.reconnected:
            call()

    async def _report(self, error: Exception) -> None:
        """Notes what the client reports on its own: it goes on by itself."""
        self._reported = str(error) or type(error).__name__
        _log.debug("nats: %s", self._reported)

    def _lose_all(self, what: str) -> None:
        for waiting in self._waiting.values():
            waiting.lose(what)


def answer(message: Msg) -> dict[str, Any]:
    """Returns a JSON answer of JetStream.

    Raises:
        Refused: it is an error.
        Lost: it is no answer of JetStream.
    """
    try:
        body = json.loads(message.data)
    except ValueError as error:
        raise Lost(f"the answer makes no sense: {message.data[:100]!r}", sent=True) from error
    if failure := body.get("error"):
        raise Refused(int(failure.get("err_code", 0)), str(failure.get("description", failure)))
    found: dict[str, Any] = body
    return found


def _credentials(options: NatsOptions) -> dict[str, Any]:
    found: dict[str, Any] = {}
    if options.credentials_file:
        found["user_credentials"] = options.credentials_file
    if options.user:
        found |= {"user": options.user, "password": options.password}
    if context := tls_context(options):
        found["tls"] = context
    return found


def tls_context(options: NatsOptions) -> ssl.SSLContext | None:
    """Returns the TLS settings of the options, None if they name no file and no `tls://` server.

    Raises:
        StoreUnavailable: a file cannot be used.
    """
    if not options.tls_ca_file and not options.tls_cert_file and not any(u.startswith("tls:") for u in options.urls):
        return None
    try:
        context = ssl.create_default_context(cafile=options.tls_ca_file or None)
        if options.tls_cert_file:
            context.load_cert_chain(options.tls_cert_file, options.tls_key_file or None)
    except OSError as error:
        raise unavailable(f"its TLS files cannot be used ({error})") from error
    return context
