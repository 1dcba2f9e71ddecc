"""Clients from addresses: over TLS, or in plaintext on this machine."""

from __future__ import annotations

from collections.abc import Sequence

from sira_client.access import Access
from sira_client.addresses import check, is_local
from sira_client.bearer import Bearer, BearerTokens
from sira_client.client import Client
from sira_client.identity import IdentitySource
from sira_client.settings import Settings
from sira_client.tls import TlsFiles


def connect(
    address: str | Sequence[str],
    *,
    tls: TlsFiles | None = None,
    identity: IdentitySource | None = None,
    bearer: Bearer | None = None,
    server_name: str | None = None,
    settings: Settings | None = None,
) -> Client:
    """Makes a client of a kernel, over TLS: with an identity, or with PEM files. It is connected in `async with`.

    Args:
        address: `host:port` of the kernel, or those of its members.
        tls: PEM files, which are read once.
        identity: for mutual TLS. As it is renewed, connections are replaced without a lost call. The client enters it.
        bearer: gives a JWT-SVID for the kernel, and a new one whenever it is asked: it is sent along with every call.
            Goes with `tls`, to an address where the kernel asks for no certificate.
        server_name: DNS name that the kernel's certificate must hold. None for `kernel.{trust domain}` with an
            identity, and for the host of the address with PEM files.
        settings: None for the defaults.

    Raises:
        ValueError: an address is malformed, or there is none; not exactly one of tls and identity is given; or a bearer
            without tls.
    """
    if (tls is None) == (identity is None):
        raise ValueError("tls, identity: exactly one of them must be given")
    if bearer is not None and tls is None:
        raise ValueError("bearer: goes with tls; an identity proves itself")
    settings = settings or Settings()
    tokens = None if bearer is None else BearerTokens(bearer, settings)
    return Client(_addresses(address), Access(tls, identity, tokens, server_name), settings)


def connect_insecure(address: str | Sequence[str], *, settings: Settings | None = None) -> Client:
    """Makes a client of a kernel on this machine, in plaintext. It is connected in `async with`.

    Args:
        address: `host:port` of the kernel, with a loopback host, or `unix:path`; or those of its members.
        settings: None for the defaults.

    Raises:
        ValueError: an address is malformed or not loopback, or there is none.
    """
    addresses = _addresses(address)
    for one in addresses:
        if not is_local(one):
            raise ValueError(f"address: {one!r} is not loopback, and plaintext goes nowhere else: use connect with TLS")
    return Client(addresses, Access(), settings or Settings())


def _addresses(address: str | Sequence[str]) -> list[str]:
    addresses = [address] if isinstance(address, str) else list(address)
    if not addresses:
        raise ValueError("address: there must be one at least")
    return [check(one) for one in addresses]
