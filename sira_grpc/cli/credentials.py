"""What a command proves itself with to a kernel, and whom it believes to be one, as a context says."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

from sira_grpc.cli import durations
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

if TYPE_CHECKING:
    import grpc

    from sira_grpc.cli.contexts import Context

KERNEL = "kernel"
"""First label of the DNS name that the certificate of every member holds."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """Material for TLS, PEM.

    Attributes:
        roots: that the kernel is verified with; None for the system's.
        chain: the certificate that is shown, and its intermediates; None to show none.
        key: its private key.
        identity: the SPIFFE ID in the certificate; empty where it need not have one.
        token: a JWT-SVID that goes along with each call; empty for none.
    """

    roots: bytes | None = None
    chain: bytes | None = None
    key: bytes | None = field(default=None, repr=False)
    identity: str = ""
    token: str = field(default="", repr=False)

    @property
    def server_name(self) -> str:
        """The DNS name that the kernel must have, whatever its address is; empty for the host of the address."""
        return f"{KERNEL}.{self.identity.split('/')[2]}" if self.identity else ""

    def channel(self, address: str) -> grpc.Channel:
        """Opens a connection, which is made when it is first needed."""
        import grpc

        credentials = grpc.ssl_channel_credentials(self.roots, self.key, self.chain)
        if self.token:
            token = grpc.access_token_call_credentials(self.token)
            credentials = grpc.composite_channel_credentials(credentials, token)
        named = [("grpc.ssl_target_name_override", self.server_name)] if self.server_name else []
        return grpc.secure_channel(address, credentials, named)


def load(context: Context) -> Credentials:
    """Reads what a context names, or has the agent give it. The context is not one for plaintext.

    Raises:
        Failure: a file cannot be read, or there is no identity that counts.
    """
    if context.identity_dir:
        return from_directory(Path(context.identity_dir), now=time.time())
    if context.agent_socket:
        return asyncio.run(_from_agent(context.agent_socket))
    return Credentials(
        roots=_read("ca_file", context.ca_file),
        chain=_read("cert_file", context.cert_file),
        key=_read("key_file", context.key_file),
        token=read_token(context.jwt_file) if context.jwt_file else "",
    )


def from_directory(directory: Path, *, now: float) -> Credentials:
    """Reads an identity directory.

    Args:
        directory: where it is.
        now: Unix seconds.

    Raises:
        Failure: it cannot be read, or its certificate has expired or is not valid yet.
    """
    from sira_grpc.svid import identity_directory, x509_svid

    try:
        files = identity_directory.read(directory)
        certificate = x509_svid.read_pem(files.svid)[0]
        identity = x509_svid.identity_of(certificate)
    except OSError as error:
        raise Failure(f"identity_dir: {error}", ExitCode.USAGE) from error
    except ValueError as error:
        raise Failure(f"identity_dir: {directory / identity_directory.SVID}: {error}", ExitCode.USAGE) from error
    trouble = out_of_time(
        certificate.not_valid_before_utc.timestamp(), certificate.not_valid_after_utc.timestamp(), now
    )
    if trouble:
        raise Failure(f"identity_dir: the certificate of {identity} in {directory} {trouble}", ExitCode.REFUSED)
    return Credentials(files.bundle, files.svid, files.key, str(identity))


def out_of_time(not_before: float, not_after: float, now: float) -> str:
    """What is wrong with a certificate at a time, all in Unix seconds; empty if it is valid."""
    if now > not_after:
        ago = durations.brief(timedelta(seconds=now - not_after))
        return f"expired {ago} ago: does the agent (or kernel) that renews it run? If not, start it, or join anew"
    if now < not_before:
        return (
            f"is valid only in {durations.brief(timedelta(seconds=not_before - now))}: is the clock of this host right?"
        )
    return ""


def read_token(path: str) -> str:
    """Reads a JWT-SVID.

    Raises:
        Failure: it cannot be read, is none, or has expired. Does not repeat it.
    """
    from sira_client.bearer import expiry

    token = (_read("jwt_file", path) or b"").decode("ascii", "replace").strip()
    try:
        left = expiry(token) - time.time()
    except ValueError as error:
        raise Failure(f"jwt_file: {path} holds no JWT-SVID", ExitCode.USAGE) from error
    if left <= 0:
        ago = durations.brief(timedelta(seconds=-left))
        raise Failure(f"jwt_file: the token in {path} expired {ago} ago: have another issued", ExitCode.REFUSED)
    return token


async def _from_agent(socket: str) -> Credentials:
    from sira_client import IdentityAgent, SiraError

    try:
        agent = IdentityAgent(socket, timeout=0)
    except ValueError as error:
        raise Failure(f"agent_socket: {error}", ExitCode.USAGE) from error
    try:
        async with agent:
            held = agent.current
    except SiraError as error:
        code = ExitCode.UNAVAILABLE if error.status.name == "UNAVAILABLE" else ExitCode.REFUSED
        why = error.message.rpartition("last error: ")[2]
        raise Failure(f"agent_socket: {agent} gives no identity: {why}", code) from error
    except ValueError as error:
        raise Failure(f"agent_socket: {agent} gave what is no identity: {error}") from error
    return Credentials(held.bundle, held.svid, held.key, held.spiffe_id)


def _read(key: str, path: str) -> bytes | None:
    """The bytes of a file that the context names; None where it names none."""
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Failure(f"{key}: {error}", ExitCode.USAGE) from error
