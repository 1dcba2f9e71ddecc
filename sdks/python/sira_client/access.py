"""How a client proves itself to a kernel, and the kernel to it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from sira_client import names
from sira_client.bearer import BearerTokens
from sira_client.dialing import Security
from sira_client.identity import IdentitySource
from sira_client.source import Source
from sira_client.tls import TlsFiles


@dataclass(frozen=True, slots=True)
class Access:
    """What a client was given for its connections to the kernel. Without TLS files and identity: plaintext.

    Attributes:
        tls: PEM files.
        identity: for mutual TLS, as it is renewed.
        bearer: tokens that are sent along with every call.
        server_name: that the kernel's certificate must hold. None for that of all members of the identity's trust
            domain, or, without an identity, for the host that is connected to.
    """

    tls: TlsFiles | None = None
    identity: IdentitySource | None = None
    bearer: BearerTokens | None = None
    server_name: str | None = None

    @asynccontextmanager
    async def open(self) -> AsyncIterator[tuple[Callable[[], Security], Source[Any] | None]]:
        """Yields what the next connection is to be secured with, and at whose change there is to be a next one.

        Raises:
            OSError: a file cannot be read.
            OSError, ValueError, grpc.aio.AioRpcError: the identity, or the first token, was not to be had in time.
        """
        if self.identity is not None:
            async with self.identity as identity:
                yield lambda: self._of(identity), identity
        elif self.tls is not None:
            credentials = await asyncio.to_thread(self.tls.credentials)
            if self.bearer is None:
                yield lambda: Security(credentials, self.server_name or ""), None
                return
            async with self.bearer as bearer:
                composite = grpc.composite_channel_credentials(credentials, grpc.metadata_call_credentials(bearer))
                yield lambda: Security(composite, self.server_name or ""), bearer
        else:
            yield Security, None

    def _of(self, source: IdentitySource) -> Security:
        identity = source.current
        name = self.server_name
        if name is None:
            name = names.kernel_dns_name(identity.trust_domain) if identity.trust_domain else ""
        return Security(identity.channel_credentials(), name)


def endpoint_security(identity: IdentitySource, service: str) -> Callable[[], Security]:
    """Secures connections to the endpoints of a service by mutual TLS: only who proves to be that service is called.

    Args:
        identity: that has been entered.
        service: resource name.

    Raises:
        ValueError: the identity has no SPIFFE ID, and so no trust domain in which the service could be.
    """
    if not identity.current.trust_domain:
        raise ValueError(f"mtls: {identity} has no SPIFFE ID, which names of services are derived from")

    def secured() -> Security:
        current = identity.current
        return Security(current.channel_credentials(), names.dns_name(service, current.trust_domain))

    return secured
