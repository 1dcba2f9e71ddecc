"""Opening the store that the configuration names, on the engine that it names."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from pathlib import Path

from sira_grpc.clock import Clock
from sira_grpc.config.store import StoreConfig
from sira_grpc.store.api import Store
from sira_grpc.store.nats_options import NatsOptions
from sira_grpc.store.sqlite import open_sqlite


async def open_store(
    config: StoreConfig, *, clock: Clock, random_bytes: Callable[[int], bytes] = secrets.token_bytes
) -> Store:
    """Opens the store: the NATS cluster at config.url, or the embedded engine in config.data_dir where that is empty.

    Args:
        config: the configuration of the store.
        clock: dates the log frames.
        random_bytes: makes ids; no two members may get the same from it.

    Raises:
        StoreUnavailable, StoreCorrupt: see open_sqlite and open_nats.
    """
    if not config.url:
        return await open_sqlite(Path(config.data_dir), clock=clock, history_limit=config.history_limit)
    from sira_grpc.store.nats import open_nats  # the client of NATS takes a while to import

    return await open_nats(
        nats_options(config), clock=clock, random_bytes=random_bytes, history_limit=config.history_limit
    )


def nats_options(config: StoreConfig) -> NatsOptions:
    """Returns what the configuration says of the NATS cluster."""
    return NatsOptions(
        url=config.url,
        prefix=config.prefix,
        replicas=config.replicas,
        write_timeout=config.write_timeout,
        accept_weak_durability=config.accept_weak_durability,
        credentials_file=config.credentials_file,
        user=config.user,
        password=config.password.reveal(),
        system_user=config.system_user,
        system_password=config.system_password.reveal(),
        tls_ca_file=config.tls_ca_file,
        tls_cert_file=config.tls_cert_file,
        tls_key_file=config.tls_key_file,
    )
