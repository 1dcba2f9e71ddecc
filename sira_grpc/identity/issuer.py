"""The issuer: certificates and tokens for those who are entitled to them, each certificate with a record of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from cryptography import x509
from google.protobuf.timestamp_pb2 import Timestamp
from sira.identity.v1.certificate_pb2 import Certificate
from sira.identity.v1.join_token_pb2 import JoinToken

from sira_grpc.clock import Clock
from sira_grpc.commits import Commits
from sira_grpc.errors import CredentialRevoked, FieldViolation, InvalidField
from sira_grpc.identity import names
from sira_grpc.identity.authority import Authority
from sira_grpc.identity.callers import Caller
from sira_grpc.identity.entitlement import Entitlement
from sira_grpc.identity.forge import Forge, general_names
from sira_grpc.identity.join_tokens import JoinTokens
from sira_grpc.identity.keyring import Keyring
from sira_grpc.identity.view import IdentityView
from sira_grpc.store.api import ABSENT, Check, Op, Put
from sira_grpc.svid import jwt_svid, signing_request, x509_svid
from sira_grpc.svid.signing_request import PublicKey, SigningRequest
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.times import NANOS, duration, seconds, timestamp

JWT_TTL = 300.0
_LABEL = "[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_DNS_NAME = re.compile(rf"(?=.{{1,253}}$)(\*\.)?{_LABEL}(\.{_LABEL})*")
"""A last label that ends in a digit is left to IP addresses."""
MAX_SUPERSEDED = 100
"""Records that one renewal ends, at most."""


@dataclass(frozen=True, slots=True)
class IssuingTerms:
    """How long certificates are valid.

    Attributes:
        ttl: seconds, where none is asked for.
        max_ttl: seconds, at most.
    """

    ttl: float
    max_ttl: float


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate that was issued.

    Attributes:
        record: of it.
        chain: the certificate and the intermediates below the root, DER.
        renew_time: half of its life.
    """

    record: Certificate
    chain: list[bytes]
    renew_time: Timestamp


@dataclass(slots=True)
class Order:
    """What is to be issued.

    Attributes:
        identity: whom it is for.
        names: DNS names and IP addresses besides.
        public_key: of its holder.
        ttl: seconds.
        requester: who asked.
        caller: the same, where the ground is what it showed; None for a token's bearer, and the kernel itself.
        supersedes: serial numbers of what its holder gives up for it.
        join_token: name of the token that it is issued for; empty for none.
        delegated: what its holder may have issued.
        allowed_dns: DNS names that its holder may have in certificates.
        max_ttl: seconds that its holder may renew it with; None for what all may.
        authority: id of the authority that issues it; empty for the one that issues now.
    """

    identity: SpiffeId
    names: Sequence[str]
    public_key: PublicKey
    ttl: float
    requester: str
    caller: Caller | None = None
    supersedes: Sequence[str] = ()
    join_token: str = ""
    delegated: Sequence[str] = ()
    allowed_dns: Sequence[str] = ()
    max_ttl: float | None = None
    authority: str = ""
    more: Callable[[str], list[Op]] = field(default=lambda serial: [])
    """Makes what is written together with the record, given its serial number."""


class Issuer:
    """Issues."""

    def __init__(
        self,
        view: IdentityView,
        commits: Commits,
        keyring: Keyring,
        forge: Forge,
        tokens: JoinTokens,
        entitlement: Entitlement,
        terms: IssuingTerms,
        clock: Clock,
    ) -> None:
        self._view = view
        self._commits = commits
        self._keyring = keyring
        self._forge = forge
        self._tokens = tokens
        self._entitlement = entitlement
        self._terms = terms
        self._clock = clock
        self.issued = 0

    async def certificate(
        self, csr: bytes, *, join_token: str, ttl: float | None, supersedes: str, caller: Caller | None, actor: str
    ) -> Issued:
        """Issues a certificate for a signing request.

        Args:
            csr: PKCS #10, DER.
            join_token: secret of a token; empty where the caller's certificate is the ground.
            ttl: seconds that are asked for; None for the default.
            supersedes: serial number of what is given up for it; empty for nothing, or the caller's own.
            caller: who asks; None if it has no identity.
            actor: the same, for the record.

        Raises:
            InvalidField: the request is malformed.
            JoinTokenInvalid: the token is good for nothing.
            IdentityNotAllowed, Unauthenticated: neither token nor caller is good for the identity.
        """
        token = self._tokens.find(join_token) if join_token else None  # before anything that costs more
        request = _read(csr)
        if token is not None:
            self._entitlement.of_token(token, request.identity, request.dns_names)
            return await self._for_token(request, token, ttl, actor)
        self._entitlement.of_caller(caller, request.identity, request.dns_names)
        assert caller is not None, "a caller without identity is entitled to nothing"
        return await self._for_caller(request, caller, ttl, supersedes)

    def jwt(
        self, identity: str, audiences: Sequence[str], *, ttl: float, caller: Caller | None
    ) -> tuple[str, SpiffeId, int]:
        """Issues a JWT-SVID. Returns the token, whom it is for, and when it was issued in Unix seconds.

        Args:
            identity: whom it is for; empty for the caller.
            audiences: whom it is to be shown to.
            ttl: seconds.
            caller: who asks; None if it has no identity.

        Raises:
            InvalidField: it is for no SPIFFE ID.
            IdentityNotAllowed, Unauthenticated.
        """
        own = caller.identity if caller is not None else SpiffeId("")  # who has none is refused below
        wanted = _parse(identity) if identity else own
        self._entitlement.of_caller(caller, wanted)
        authority = self._keyring.issuing()
        now = self._clock.time_ns() // NANOS
        revoked = self._view.revoked_identities.get(str(wanted))
        if revoked is not None and revoked.value.revoke_time.ToNanoseconds() >= now * NANOS:
            # Tokens tell whole seconds: this one would pass for one that was issued before the revocation.
            now = revoked.value.revoke_time.ToNanoseconds() // NANOS + 1
        key_id = authority.record.jwt_key_id
        return jwt_svid.sign(authority.jwt_key, key_id, wanted, audiences, now=now, ttl=round(ttl)), wanted, now

    async def order(self, order: Order) -> Issued:
        """Issues what was ordered, by whoever may order it, and returns once its record is durable."""
        made: list[tuple[Authority, x509.Certificate, Certificate]] = []

        def plan() -> list[Op]:
            # Anew with each attempt: another authority may issue by now, or the caller be revoked.
            self._check(order.caller)
            made[:] = [self._make(order)]
            _, _, record = made[0]
            key = names.certificate_key(record.serial)
            ops: list[Op] = [Put(key, record.SerializeToString(), ABSENT), *order.more(record.serial)]
            return ops + self._still(order) + self._superseding(order.supersedes, record.serial)

        await self._commits.run(self._commits.apply(plan))
        self.issued += 1
        authority, certificate, record = made[0]
        life_ns = record.expire_time.ToNanoseconds() - record.issue_time.ToNanoseconds()
        renew = timestamp(record.issue_time.ToNanoseconds() + life_ns // 2)
        return Issued(record, [x509_svid.to_der(certificate), *authority.chain], renew)

    async def _for_token(self, request: SigningRequest, token: JoinToken, ttl: float | None, actor: str) -> Issued:
        granted = seconds(token.certificate_ttl) if token.HasField("certificate_ttl") else None
        order = Order(
            request.identity,
            _names(request),
            request.public_key,
            self._ttl(ttl, granted),
            requester=actor,
            join_token=token.name,
            delegated=token.delegated,
            allowed_dns=token.dns_names,
            max_ttl=granted,
        )

        async def command() -> Issued:
            with self._tokens.use(token) as order.more:
                return await self.order(order)

        # To its end even if the caller goes away: the use stays reserved until it is written.
        return await self._commits.run(command())

    async def _for_caller(self, request: SigningRequest, caller: Caller, ttl: float | None, supersedes: str) -> Issued:
        order = Order(request.identity, _names(request), request.public_key, 0.0, caller.name, caller)
        given_up = self._view.certificates.get(supersedes)
        if given_up is not None and given_up.value.identity == str(request.identity):
            order.supersedes = [supersedes]
        stored = self._view.certificates.get(caller.serial)
        if stored is not None and request.identity == caller.identity:
            held = stored.value
            order.supersedes = [caller.serial]
            order.join_token, order.delegated = held.join_token, held.delegated
            order.allowed_dns = held.allowed_dns_names
            order.max_ttl = self._granted(held)
        order.ttl = self._ttl(ttl, self._granted(stored.value) if stored is not None else None)
        return await self.order(order)

    def _make(self, order: Order) -> tuple[Authority, x509.Certificate, Certificate]:
        asked = order.authority in self._view.authorities  # otherwise another member has ended a rotation meanwhile
        authority = self._keyring.get(order.authority) if asked else self._keyring.issuing()
        now_ns = issued_ns = self._clock.time_ns()
        revoked = self._view.revoked_identities.get(str(order.identity))
        if revoked is not None:  # by a member whose clock is ahead: this one would pass for one from before
            issued_ns = max(now_ns, revoked.value.revoke_time.ToNanoseconds() + 1)
        alternatives = general_names(order.names)
        certificate = self._forge.leaf(
            authority, order.identity, alternatives, order.public_key, now_ns=now_ns, ttl=order.ttl
        )
        record = Certificate(
            serial=x509_svid.serial_of(certificate),
            identity=str(order.identity),
            dns_names=[name.value for name in alternatives if isinstance(name, x509.DNSName)],
            authority=authority.id,
            issue_time=timestamp(issued_ns),
            expire_time=timestamp(round(certificate.not_valid_after_utc.timestamp()) * NANOS),
            requester=order.requester,
            join_token=order.join_token,
            delegated=order.delegated,
            allowed_dns_names=order.allowed_dns,
            max_ttl=None if order.max_ttl is None else duration(order.max_ttl),
        )
        return authority, certificate, record

    @staticmethod
    def _granted(held: Certificate) -> float | None:
        """Longest validity in seconds of what the holder of a certificate may have issued; None for what all may."""
        return seconds(held.max_ttl) if held.HasField("max_ttl") else None

    def _check(self, caller: Caller | None) -> None:
        if caller is not None and self._view.revoked(caller.name, caller.serial, caller.issued_ns):
            raise CredentialRevoked(f"what {caller.name} showed was revoked", metadata={"identity": caller.name})

    def _still(self, order: Order) -> list[Op]:
        """What a certificate is issued on the strength of must be so when it is written, whoever writes besides.

        So nobody renews out of a revocation that another member has written, and an authority that does not issue any
        more, as a rotation has gone on, issues nothing more.
        """
        assert self._view.domain is not None, "it was founded before anything is issued"
        identities = {str(order.identity)}
        ops: list[Op] = [Check(names.DOMAIN, self._view.domain.revision)]
        if order.caller is not None:
            identities.add(order.caller.name)
            ops.append(Check(names.serial_revocation_key(order.caller.serial), ABSENT))
        for identity in sorted(identities):
            stored = self._view.revoked_identities.get(identity)
            key = names.identity_revocation_key(identity)
            ops.append(Check(key, stored.revision if stored is not None else ABSENT))
        return ops

    def _superseding(self, serials: Sequence[str], by: str) -> list[Op]:
        """Notes in the records of what was held that it was renewed.

        Who shows it again never got what it was renewed with: that is given up as well.
        """
        left, ops = list(serials), dict[str, Op]()
        while left and len(ops) < MAX_SUPERSEDED:
            serial = left.pop()
            stored = self._view.certificates.get(serial)
            if stored is None or serial in ops:
                continue
            held = Certificate()
            held.CopyFrom(stored.value)
            held.superseded_by = by
            ops[serial] = Put(names.certificate_key(serial), held.SerializeToString(), stored.revision)
            if stored.value.superseded_by:
                left.append(stored.value.superseded_by)
        return list(ops.values())

    def _ttl(self, asked: float | None, granted: float | None) -> float:
        return min(asked or self._terms.ttl, self._terms.max_ttl, granted or self._terms.max_ttl)


def _parse(identity: str) -> SpiffeId:
    try:
        return SpiffeId.parse(identity)
    except ValueError as error:
        raise InvalidField([FieldViolation("identity", str(error))]) from error


def _read(csr: bytes) -> SigningRequest:
    try:
        request = signing_request.read(csr)
    except ValueError as error:
        raise InvalidField([FieldViolation("csr", str(error))]) from error
    for name in request.dns_names:
        if name != request.identity.dns_name and (not _DNS_NAME.fullmatch(name) or name[-1].isdigit()):
            raise InvalidField([FieldViolation("csr", f"asks for {name!r}, which is no DNS name")])
    return request


def _names(request: SigningRequest) -> list[str]:
    """The DNS names of a certificate: that of the service first, then those that were asked for."""
    own = [request.identity.dns_name] if request.identity.dns_name else []
    return list(dict.fromkeys([*own, *request.dns_names]))
