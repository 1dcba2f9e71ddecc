"""What a NATS server must be like so that nothing is lost: looked at when a store is opened."""

from __future__ import annotations

import json
import logging
from typing import Any

from nats.errors import Error as NatsError

from sira_grpc.store.api import MAX_FRAME_BYTES
from sira_grpc.store.nats_client import NatsClient
from sira_grpc.store.nats_errors import JETSTREAM_NOT_ENABLED, Refused, unavailable
from sira_grpc.store.nats_link import CONNECT_SECONDS, Link, tls_context
from sira_grpc.store.nats_options import NatsOptions

OLDEST_VERSION = (2, 12)
"""The first with atomic batches."""
MIN_PAYLOAD_BYTES = MAX_FRAME_BYTES + (1 << 20)
CALL_SECONDS = 5.0
_SYSTEM_PING = "$SYS.REQ.SERVER.PING.JSZ"

_log = logging.getLogger(__name__)


async def check_server(link: Link, options: NatsOptions) -> None:
    """Makes sure that the server which this member is connected to can keep a store.

    Raises:
        StoreUnavailable: it cannot; says what to change.
        Lost: no answer came.
    """
    version = link.client.connected_server_version
    if (version.major, version.minor) < OLDEST_VERSION:
        raise unavailable(f"nats-server {version} is too old: 2.12 or newer is needed, for atomic batches")
    if link.client.max_payload < MIN_PAYLOAD_BYTES:
        raise unavailable(
            f"its max_payload is {link.client.max_payload} bytes, but log frames need {MIN_PAYLOAD_BYTES}: "
            "put `max_payload: 8MB` into the configuration of every server"
        )
    try:
        await link.api("INFO", within=CALL_SECONDS)
    except Refused as error:
        if error.code in JETSTREAM_NOT_ENABLED:
            raise unavailable(
                "JetStream is not enabled: put `jetstream { store_dir: ..., sync_interval: always }` into the "
                "configuration of every server, and enable it for the account"
            ) from error
        raise
    if options.system_user:
        await _check_sync(options)
    else:
        _log.warning(
            "whether the NATS servers write to disk what they acknowledge cannot be seen without store.system_user; "
            "make sure that each has `jetstream { sync_interval: always }`"
        )


def check_replicas(info: dict[str, Any], options: NatsOptions) -> None:
    """Makes sure that a stream has the replicas that are asked for.

    Raises:
        StoreUnavailable: it has fewer, and that is not accepted.
    """
    name, replicas = info["config"]["name"], int(info["config"]["num_replicas"])
    if replicas < options.replicas:
        _weak(
            options,
            f"its stream {name} has {replicas} replicas, not {options.replicas}: "
            f"run `nats stream edit {name} --replicas {options.replicas}`",
        )


async def _check_sync(options: NatsOptions) -> None:
    """Asks every server, with the system account, whether it writes to disk before it acknowledges."""
    servers = await _servers(options)
    if not servers:
        _weak(options, "no server answered store.system_user, so that sync_interval cannot be seen")
    for name, config in servers.items():
        if not config.get("sync_always"):
            _weak(
                options,
                f"the server {name} acknowledges before it writes to disk: "
                "put `sync_interval: always` into the jetstream block of its configuration",
            )


async def _servers(options: NatsOptions) -> dict[str, dict[str, Any]]:
    """Returns the JetStream configuration of every server that answers, by name."""
    client = NatsClient()
    try:
        await client.connect(
            options.urls,
            user=options.system_user,
            password=options.system_password,
            tls=tls_context(options),
            connect_timeout=CONNECT_SECONDS,
            allow_reconnect=False,
        )
    except (OSError, NatsError, TimeoutError) as error:
        await client.close()
        raise unavailable(f"store.system_user cannot connect ({error or type(error).__name__})") from error
    try:
        answers = await client.subscribe(client.new_inbox())
        await client.publish(_SYSTEM_PING, reply=answers.subject)
        found: dict[str, dict[str, Any]] = {}
        wait = CALL_SECONDS
        while True:
            try:
                body = json.loads((await answers.next_msg(timeout=wait)).data)
            except (NatsError, TimeoutError):
                return found
            wait = 0.5
            found[str(body["server"]["name"])] = body.get("data", {}).get("config") or {}
    finally:
        await client.close()


def _weak(options: NatsOptions, finding: str) -> None:
    if not options.accept_weak_durability:
        raise unavailable(f"{finding}; or set store.accept_weak_durability to run with less")
    _log.warning("what the NATS store acknowledges may be lost: %s", finding)
