"""Joining: from a join secret to an identity of one's own."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import grpc
from sira.identity.v1.identity_service_pb2 import IssueCertificateRequest, IssueCertificateResponse
from sira.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sira_client.addresses import grpc_target
from sira_client.clock import Clock, SystemClock
from sira_client.errors import from_rpc_error

from sira_grpc.agent import files, keyed_svid
from sira_grpc.agent.bootstrap import Root, fetch_root
from sira_grpc.agent.entries import KeptFiles, complete
from sira_grpc.agent.failures import KernelNotTrusted
from sira_grpc.agent.kernel_link import kernel_options
from sira_grpc.agent.keyed_svid import KeyedSvid
from sira_grpc.agent.safe_path import check_safe
from sira_grpc.agent.trust import Trust
from sira_grpc.errors import ConfigError
from sira_grpc.svid import signing_request
from sira_grpc.svid.join_secret import JoinSecret
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.times import duration

CALL_SECONDS = 10.0
"""How long the kernel has to answer, each time."""


@dataclass(frozen=True, slots=True)
class Joining:
    """Who joins, where, and by what right.

    Attributes:
        address: `host:port` where the kernel takes join tokens.
        secret: what was handed over.
        identity: the SPIFFE ID that is asked for, or its path in the kernel's trust domain: `node/web-1`.
        dns_names: that are asked for besides those that come with the identity.
        ttl: seconds that the certificate shall be valid; None for the kernel's default.
    """

    address: str
    secret: JoinSecret
    identity: str
    dns_names: Sequence[str] = ()
    ttl: float | None = None


async def enrol(joining: Joining, *, clock: Clock, within: float = CALL_SECONDS) -> tuple[KeyedSvid, Trust]:
    """Joins, and returns the identity and whom it makes trust.

    Args:
        joining: see Joining.
        clock: time.
        within: seconds that the kernel has to answer, each of two times.

    Raises:
        ConfigError: the address, the identity or a DNS name is malformed, or the identity of another trust domain.
        KernelUnreachable, KernelNotTrusted: see bootstrap.fetch_root.
        sira_client.errors.SiraError: the kernel does not accept the token, or does not answer.
    """
    try:
        root = await fetch_root(joining.address, joining.secret.fingerprint, now=clock.time_ns() / 1e9, within=within)
        identity = _identity(joining, root)
        key, csr = signing_request.make(identity, joining.dns_names)
    except ValueError as error:
        raise ConfigError(f"cannot join: {error}") from error
    request = IssueCertificateRequest(csr=csr, join_token=str(joining.secret))
    if joining.ttl is not None:
        request.ttl.CopyFrom(duration(joining.ttl))
    response = await _issue(joining.address, root, request, within)
    try:
        svid = keyed_svid.accept(response, key, identity, now=clock.time_ns() / 1e9)
        return svid, Trust(response.bundle, authority=response.certificate.authority).check()
    except ValueError as error:
        raise KernelNotTrusted(f"the kernel issued what cannot be used: {error}") from error


async def join(
    joining: Joining,
    directory: Path,
    *,
    group_readable: bool = False,
    clock: Clock | None = None,
    within: float = CALL_SECONDS,
) -> KeyedSvid:
    """Joins, and writes the identity into an identity directory.

    Args:
        joining: see Joining.
        directory: where to. Made if it is missing. What is there is replaced.
        group_readable: whether the group of the directory may read the key.
        clock: time.
        within: seconds that the kernel has to answer, each of two times.

    Raises:
        OSError: the directory cannot be written, which is found out before the token is used.
        and what enrol raises.
    """
    svid, _ = await settle(
        joining, directory, group_readable=group_readable, clock=clock or SystemClock(), within=within
    )
    return svid


async def settle(
    joining: Joining, directory: Path, *, clock: Clock, group_readable: bool = False, within: float = CALL_SECONDS
) -> tuple[KeyedSvid, Trust]:
    """Does what join does, and returns the trust too."""
    await asyncio.to_thread(_check_writable, directory, group_readable)
    svid, trust = await enrol(joining, clock=clock, within=within)
    kept = KeptFiles(svid.identity, (), directory, group_readable=group_readable)
    await asyncio.to_thread(files.write, kept, files.files_of(svid, trust))
    return svid, trust


async def _issue(address: str, root: Root, request: IssueCertificateRequest, within: float) -> IssueCertificateResponse:
    credentials = grpc.ssl_channel_credentials(root.pem)
    options = kernel_options(root.trust_domain)
    async with grpc.aio.secure_channel(grpc_target(address), credentials, options) as channel:
        try:
            return await IdentityServiceStub(channel).IssueCertificate(request, timeout=within)
        except grpc.aio.AioRpcError as failure:
            raise from_rpc_error(failure) from failure


def _identity(joining: Joining, root: Root) -> SpiffeId:
    identity = complete(joining.identity, root.trust_domain)
    if identity.trust_domain != root.trust_domain:
        raise ValueError(f"{identity} is not of the kernel's trust domain, {root.trust_domain}")
    return identity


def _check_writable(directory: Path, group_readable: bool) -> None:
    """A join token may be good for one use: it is not spent on what cannot be kept."""
    check_safe(directory)
    directory.mkdir(mode=0o750 if group_readable else 0o700, parents=True, exist_ok=True)
    probe = directory / ".writable"
    probe.touch()
    probe.unlink()
