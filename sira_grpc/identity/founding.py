"""Founding: the first start makes the trust domain and its authority; every other one finds them and opens the keys."""

from __future__ import annotations

import asyncio
import itertools
import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from sira.identity.internal.v1.authority_record_pb2 import DomainRecord

from sira_grpc.clock import Clock
from sira_grpc.commits import Commits
from sira_grpc.config import IdentityConfig
from sira_grpc.errors import ConfigError, Conflict, NoRotation
from sira_grpc.identity import names, sealing
from sira_grpc.identity.authority import Authority
from sira_grpc.identity.forge import Forge
from sira_grpc.identity.sealing import Sealer
from sira_grpc.identity.view import IdentityView
from sira_grpc.store.api import ABSENT, Put
from sira_grpc.svid import x509_svid
from sira_grpc.svid.spiffe_id import MEMBER, SpiffeId
from sira_grpc.svid.x509_svid import SvidError

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Upstream:
    """An intermediate by an external authority: its chain down from itself to the root, and its key."""

    chain: tuple[x509.Certificate, ...]
    key: ec.EllipticCurvePrivateKey


class Founder:
    """Founds a trust domain in an empty store, or opens the one that is there.

    Attributes:
        founded: it was this one that founded it, just now.
    """

    def __init__(
        self,
        view: IdentityView,
        commits: Commits,
        forge: Forge,
        config: IdentityConfig,
        *,
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._view = view
        self._commits = commits
        self._forge = forge
        self._config = config
        self._clock = clock
        self._random_bytes = random_bytes
        self.founded = False

    async def open(self) -> Sealer:
        """Returns what the private keys are sealed with; founds the trust domain if there is none.

        Of several members that find none at once, one founds it, and the others open what that one has made.

        Raises:
            ConfigError: the keys cannot be opened, or the configuration is of another trust domain.
        """
        if self._view.domain is None:
            with suppress(Conflict):  # another member was first, and the view shows by now what it made
                sealer = await self._found()
                self.founded = True
                return sealer
        assert self._view.domain is not None, "it was founded by another member"
        domain = self._view.domain.value
        if domain.trust_domain != self._config.trust_domain:
            raise ConfigError(
                f"identity.trust_domain: is {self._config.trust_domain!r}, but the store was founded as "
                f"{domain.trust_domain!r}; it cannot be changed"
            )
        sealer = await asyncio.to_thread(self._sealer, domain.key_salt, create=False)
        sealer.check(domain.key_check)
        return sealer

    async def make(self, sealer: Sealer) -> Authority:
        """Makes an authority: from the upstream files if they are named, with a root of its own otherwise.

        Raises:
            ConfigError: an upstream file cannot be used.
        """
        return await asyncio.to_thread(self._make, sealer)

    async def make_next(self, sealer: Sealer) -> Authority:
        """Makes an authority to rotate to.

        Raises:
            NoRotation: the upstream files name the authority that is there already, or cannot be used.
        """
        try:
            made = await self.changed_upstream(sealer) if self._config.upstream_cert_file else await self.make(sealer)
        except ConfigError as error:
            raise NoRotation(f"there is nothing to rotate to: {error}") from error
        if made is None:
            raise NoRotation("identity.upstream_cert_file: names an authority that is there already")
        return made

    async def changed_upstream(self, sealer: Sealer) -> Authority | None:
        """Returns an authority of the upstream files if they name another one than those there are; None otherwise.

        Raises:
            ConfigError: an upstream file cannot be used.
        """
        if not self._config.upstream_cert_file:
            return None
        upstream = await asyncio.to_thread(read_upstream, self._config, self._now())
        issuer = x509_svid.to_der(upstream.chain[0])
        if any(stored.value.intermediates[0] == issuer for stored in self._view.authorities.values()):
            return None
        return await self.make(sealer)

    async def _found(self) -> Sealer:
        salt = self._random_bytes(sealing.SALT_BYTES) if self._config.passphrase.reveal() else b""
        sealer = await asyncio.to_thread(self._sealer, salt, create=True)
        authority = await self.make(sealer)
        domain = DomainRecord(
            trust_domain=self._config.trust_domain,
            issuing=authority.id,
            trusted=[authority.id],
            sequence=1,
            key_check=sealer.make_check(),
            key_salt=salt,
        )
        ops = [
            Put(names.DOMAIN, domain.SerializeToString(), ABSENT),
            Put(names.authority_key(authority.id), authority.record.SerializeToString(), ABSENT),
        ]
        await self._commits.write(ops)
        log.info("founded the trust domain %s with authority %s", domain.trust_domain, authority.id)
        return sealer

    def _make(self, sealer: Sealer) -> Authority:
        now_ns = self._clock.time_ns()
        if not self._config.upstream_cert_file:
            return self._forge.authority(sealer, now_ns=now_ns)
        upstream = read_upstream(self._config, self._now())
        made = self._forge.external_authority(sealer, upstream.chain, upstream.key, now_ns=now_ns)
        self._check_external(made, now_ns)
        return made

    def _check_external(self, authority: Authority, now_ns: int) -> None:
        """Makes sure that what an authority would issue is verified, by issuing something."""
        domain = self._config.trust_domain
        key = ec.generate_private_key(ec.SECP256R1())
        identity = SpiffeId(domain, (MEMBER, "probe"))
        leaf = self._forge.leaf(authority, identity, (), key.public_key(), now_ns=now_ns, ttl=60)
        try:
            x509_svid.verify(leaf, authority.intermediates, {domain: [authority.root]}, now=now_ns / 1e9)
        except SvidError as error:
            raise ConfigError(
                "identity.upstream_cert_file: certificates that it issues are not verified with the root in "
                f"identity.upstream_bundle_file: {error.__cause__ or error}"
            ) from error

    def _sealer(self, salt: bytes, *, create: bool) -> Sealer:
        passphrase = self._config.passphrase.reveal()
        if not create and bool(salt) != bool(passphrase):
            meant = "a passphrase" if salt else "the key file in identity.dir, not a passphrase"
            rule = f"the private keys in the store are encrypted with {meant}; {sealing.SAME_EVERYWHERE}"
            raise ConfigError(f"identity.passphrase: {rule}")
        directory = Path(self._config.dir)
        sealing.prepare(directory)
        if passphrase:
            return sealing.from_passphrase(passphrase, salt, self._random_bytes)
        return sealing.from_key_file(directory, self._random_bytes, create=create)

    def _now(self) -> float:
        return self._clock.time_ns() / 1e9


def read_upstream(config: IdentityConfig, now: float) -> Upstream:
    """Reads the files of an external authority, and makes sure that they fit.

    Raises:
        ConfigError: one cannot be read, the key is not that of the certificate or no ECDSA P-256 one, or the root does
            not lead to the certificate. Names the key of the configuration.
    """
    intermediates = _certificates("upstream_cert_file", config.upstream_cert_file)
    roots = _certificates("upstream_bundle_file", config.upstream_bundle_file)
    key = _key(config.upstream_key_file)
    issuer = intermediates[0]
    if key.public_key() != issuer.public_key():
        raise ConfigError("identity.upstream_key_file: is not the key of identity.upstream_cert_file")
    if not _may_issue(issuer):
        raise ConfigError("identity.upstream_cert_file: may not issue certificates: no CA, or key usage without it")
    if not issuer.not_valid_before_utc.timestamp() <= now <= issuer.not_valid_after_utc.timestamp():
        raise ConfigError("identity.upstream_cert_file: has expired, or is not valid yet")
    for below, above in itertools.pairwise(intermediates):
        if not _issued(above, below):
            raise ConfigError("identity.upstream_cert_file: each certificate must be followed by its issuer's")
    for root in roots:
        if _issued(root, intermediates[-1]):
            return Upstream((*intermediates, root), key)
    raise ConfigError("identity.upstream_bundle_file: holds no root that identity.upstream_cert_file leads to")


def _certificates(field: str, path: str) -> list[x509.Certificate]:
    try:
        return x509_svid.read_pem(Path(path).read_bytes())
    except OSError as error:
        raise ConfigError(f"identity.{field}: {path} cannot be read: {error.strerror}") from error
    except SvidError as error:
        raise ConfigError(f"identity.{field}: {path} {error}") from error


def _key(path: str) -> ec.EllipticCurvePrivateKey:
    try:
        sealing.check_private(Path(path), "identity.upstream_key_file")
        key = serialization.load_pem_private_key(Path(path).read_bytes(), None)
    except OSError as error:
        raise ConfigError(f"identity.upstream_key_file: {path} cannot be read: {error.strerror}") from error
    except (ValueError, TypeError) as error:
        raise ConfigError(f"identity.upstream_key_file: {path} is no unencrypted PEM key: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise ConfigError(f"identity.upstream_key_file: {path} must be an ECDSA P-256 key")
    return key


def _may_issue(certificate: x509.Certificate) -> bool:
    try:
        extensions = certificate.extensions
        usage = extensions.get_extension_for_class(x509.KeyUsage).value
        extensions.get_extension_for_class(x509.SubjectKeyIdentifier)
        return extensions.get_extension_for_class(x509.BasicConstraints).value.ca and usage.key_cert_sign
    except (x509.ExtensionNotFound, ValueError):
        return False


def _issued(issuer: x509.Certificate, certificate: x509.Certificate) -> bool:
    try:
        certificate.verify_directly_issued_by(issuer)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True
