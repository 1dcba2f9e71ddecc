"""The records of what was issued: listed, revoked, and forgotten some time after they expire."""

from __future__ import annotations

from collections.abc import Callable

from sira.identity.internal.v1.revocation_record_pb2 import RevocationRecord
from sira.identity.v1.certificate_pb2 import Certificate

from sira_grpc.clock import Clock
from sira_grpc.commits import ATTEMPTS, MAX_CHANGES, Commits, in_chunks
from sira_grpc.errors import Conflict, FieldViolation, InvalidField
from sira_grpc.identity import names
from sira_grpc.identity.view import IdentityView, Stored
from sira_grpc.pages import take_page
from sira_grpc.store.api import ABSENT, Delete, Op, Put
from sira_grpc.svid import spiffe_id
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.times import NANOS, timestamp

MAX_JWT_NS = 3600 * NANOS
"""Longest validity of a JWT-SVID."""
LEEWAY_NS = NANOS
"""By how much a revocation that is written again goes beyond what it has met: the clocks of members differ."""


class Records:
    """The commands on certificates that were issued.

    Args:
        view: of the store.
        commits: writes.
        clock: the time.
        max_ttl: longest validity of a certificate, in seconds.
    """

    def __init__(self, view: IdentityView, commits: Commits, clock: Clock, *, max_ttl: float) -> None:
        self._view = view
        self._commits = commits
        self._clock = clock
        self._max_ttl_ns = round(max_ttl * NANOS)

    async def page(
        self, *, size: int, token: str, identity: str, join_token: str, live_only: bool
    ) -> tuple[list[Certificate], str]:
        """Lists records by serial number.

        Args:
            size, token: of the page.
            identity: only those of identities that this pattern covers; empty for all.
            join_token: only those issued for it; empty for all.
            live_only: only those that count.

        Raises:
            InvalidPageToken.
            InvalidField: identity is no pattern of SPIFFE IDs.
        """
        if identity:
            _check("identity", spiffe_id.check_pattern, identity)
        now_ns = self._clock.time_ns()

        def load(serial: str) -> Certificate | None:
            stored = self._view.certificates.get(serial)
            return stored.value if stored is not None else None

        def matches(certificate: Certificate) -> bool:
            return (
                (not identity or spiffe_id.matches(identity, SpiffeId.parse(certificate.identity)))
                and (not join_token or certificate.join_token == join_token)
                and (not live_only or self._counts(certificate, now_ns))
            )

        query = f"certificates {identity} {join_token} {live_only}"
        wanted = matches if identity or join_token or live_only else None
        exact = identity if identity and spiffe_id.ANY not in identity else ""
        serials = tuple(self._view.by_identity.get(exact, ())) if exact else self._view.certificates
        return await take_page(serials, load, wanted, size=size, token=token, query=query)

    async def revoke_serial(self, serial: str, *, cause: str, actor: str) -> int:
        """Revokes one certificate, of which there need not be a record. Returns how many counted until then."""
        serial = serial.lstrip("0") or "0"
        now_ns = self._clock.time_ns()
        counted = 0

        def plan() -> list[Op]:
            nonlocal counted
            stored = self._view.certificates.get(serial)
            forget_ns = now_ns + self._max_ttl_ns
            ops: list[Op] = []
            counted = 0
            if stored is not None:
                counted = int(self._counts(stored.value, now_ns))
                forget_ns = stored.value.expire_time.ToNanoseconds()
                ops += self._marking(serial, now_ns)
            record = self._record(now_ns, forget_ns, cause, actor, serial=serial)
            if stored is not None:
                record.identity = stored.value.identity
            return [*ops, Put(names.serial_revocation_key(serial), record.SerializeToString())]

        await self._commits.run(self._commits.apply(plan))
        return counted

    async def revoke_identity(self, identity: str, *, cause: str, actor: str) -> int:
        """Revokes all that an identity was issued so far. Returns how many certificates counted until then.

        Raises:
            InvalidField: it is no SPIFFE ID.
        """
        _check("identity", SpiffeId.parse, identity)

        async def command() -> int:
            # From here on nothing is issued to who shows what is revoked, and what was planned before was issued before
            # and is in the store first: nobody renews out of it.
            self._view.revoking.add(identity)
            try:
                return await self._revoke_identity(identity, self._clock.time_ns(), cause, actor)
            finally:
                self._view.revoking.discard(identity)

        return await self._commits.run(command())

    async def _revoke_identity(self, identity: str, now_ns: int, cause: str, actor: str) -> int:
        """Revokes what an identity was issued so far: what is in the store before the revocation is.

        A certificate that another member wrote just before may be unknown here, or its clock be ahead: then it is of
        later than the revocation, which is written again. None is written after the revocation by who has not seen it.
        """
        counted, time_ns = set[str](), now_ns
        for _ in range(ATTEMPTS):
            revision = await self._write_revocation(identity, time_ns, cause, actor)
            revoked_ns = self._view.revoked_identities[identity].value.revoke_time.ToNanoseconds()
            counted |= await self._mark(identity, revoked_ns, now_ns)
            escaped = [held for held in self._held(identity) if held.created < revision and _issued(held) > revoked_ns]
            if not escaped:
                return len(counted)
            time_ns = max(_issued(held) for held in self._held(identity)) + LEEWAY_NS
        raise Conflict("certificates of the identity were issued too many times while it was revoked; try again")

    async def _write_revocation(self, identity: str, time_ns: int, cause: str, actor: str) -> int:
        """Writes that what was issued up to a time, or a later one that is known, is revoked. Returns the revision."""

        def plan() -> list[Op]:
            stored = self._view.revoked_identities.get(identity)
            before = stored.value.revoke_time.ToNanoseconds() if stored is not None else 0
            until = max([time_ns, before, *map(_issued, self._held(identity))])
            forget_ns = until + max(self._max_ttl_ns, MAX_JWT_NS)
            record = self._record(until, forget_ns, cause, actor, identity=identity)
            expected = stored.revision if stored is not None else ABSENT
            return [Put(names.identity_revocation_key(identity), record.SerializeToString(), expected)]

        return await self._commits.apply(plan)

    async def _mark(self, identity: str, until_ns: int, now_ns: int) -> set[str]:
        """Notes in the records of what was issued up to a time that it is revoked; returns what counted until then."""
        # A join token may have brought it back since.
        stored = [held.value for held in self._held(identity) if _issued(held) <= until_ns]
        serials = [held.serial for held in stored]
        counted = {held.serial for held in stored if self._counts(held, now_ns)}
        for start in range(0, len(serials), MAX_CHANGES):
            chunk = serials[start : start + MAX_CHANGES]
            await self._commits.apply(lambda chunk=chunk: [op for s in chunk for op in self._marking(s, now_ns)])  # type: ignore[misc]  # the default binds it
        return counted

    def _held(self, identity: str) -> list[Stored[Certificate]]:
        """The records of what an identity was issued."""
        return [self._view.certificates[serial] for serial in self._view.by_identity.get(identity, ())]

    async def sweep(self, *, before_ns: int) -> None:
        """Forgets records of certificates that expired before a time, and revocations that refuse nothing any more."""
        over = self._view.expired(before_ns)
        try:
            ops: list[Op] = [Delete(names.certificate_key(serial)) for serial in over]
            await in_chunks(self._commits.write, [[op] for op in ops], MAX_CHANGES)
        finally:
            self._view.expire(over)  # those whose records are still there
        while self._forgetting(before_ns):
            await self._commits.apply(lambda: self._forgetting(before_ns)[:MAX_CHANGES])

    def _forgetting(self, before_ns: int) -> list[Op]:
        """Deletes revocations, unless one is renewed meanwhile, as what an identity is issued again may be revoked."""
        over = [
            (names.serial_revocation_key(serial), stored) for serial, stored in self._view.revoked_serials.items()
        ] + [
            (names.identity_revocation_key(identity), stored)
            for identity, stored in self._view.revoked_identities.items()
        ]
        return [
            Delete(key, stored.revision) for key, stored in over if stored.value.forget_time.ToNanoseconds() < before_ns
        ]

    def _marking(self, serial: str, now_ns: int) -> list[Op]:
        """Notes in the record of a certificate that it is revoked; nothing where it is already, or is gone."""
        stored = self._view.certificates.get(serial)
        if stored is None or stored.value.HasField("revoke_time"):
            return []
        marked = Certificate()
        marked.CopyFrom(stored.value)
        marked.revoke_time.CopyFrom(timestamp(now_ns))
        return [Put(names.certificate_key(serial), marked.SerializeToString(), stored.revision)]

    @staticmethod
    def _counts(certificate: Certificate, now_ns: int) -> bool:
        ended = certificate.superseded_by or certificate.HasField("revoke_time")
        return not ended and certificate.expire_time.ToNanoseconds() > now_ns

    @staticmethod
    def _record(
        now_ns: int, forget_ns: int, cause: str, actor: str, *, serial: str = "", identity: str = ""
    ) -> RevocationRecord:
        return RevocationRecord(
            serial=serial,
            identity=identity,
            revoke_time=timestamp(now_ns),
            forget_time=timestamp(forget_ns),
            cause=cause,
            actor=actor,
        )


def _issued(held: Stored[Certificate]) -> int:
    return held.value.issue_time.ToNanoseconds()


def _check(field: str, rule: Callable[[str], object], text: str) -> None:
    try:
        rule(text)
    except ValueError as error:
        raise InvalidField([FieldViolation(field, str(error))]) from error
