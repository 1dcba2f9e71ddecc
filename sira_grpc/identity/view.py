"""Identity as this member sees it: an image of the store in memory, from which every read is answered."""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from google.protobuf.message import Message
from sira.identity.internal.v1.authority_record_pb2 import AuthorityRecord, DomainRecord
from sira.identity.internal.v1.follower_record_pb2 import FollowerRecord
from sira.identity.internal.v1.join_token_record_pb2 import JoinTokenRecord
from sira.identity.internal.v1.revocation_record_pb2 import RevocationRecord
from sira.identity.internal.v1.rotation_record_pb2 import RotationRecord
from sira.identity.v1.certificate_pb2 import Certificate
from sira.identity.v1.federated_bundle_pb2 import FederatedBundle

from sira_grpc.identity import names
from sira_grpc.identity.live import LiveCertificates
from sira_grpc.progress import Progress
from sira_grpc.store.api import Change, Commit, Snapshot

TRUST = (names.DOMAIN, names.ROTATION, names.AUTHORITIES, names.FEDERATED, names.REVOCATIONS)
"""Keys whose changes are of interest to those who verify others."""

T = TypeVar("T")
M = TypeVar("M", bound=Message)


@dataclass(slots=True)
class Stored(Generic[T]):
    """Something as it is in the store.

    Attributes:
        value: as it is.
        revision: of the last write.
        created: revision of the first write that this member has seen; of what was there when it started, 0.
    """

    value: T
    revision: int
    created: int = field(default=0, compare=False)


@dataclass(slots=True)
class Token:
    """A join token, and the serials of what it was used for by slot."""

    record: JoinTokenRecord | None = None
    revision: int = 0
    uses: dict[int, str] = field(default_factory=dict)


class IdentityView:
    """Everything by name. Changed only by load() and apply(), but for what is under way.

    Attributes:
        revoking: identities that are being revoked: what they show is refused before the store has it.
        trust_changed: called when something that verifiers need has changed, with the revision; must not block.
        followed: called when another member has told how far it has followed a rotation; must not block.
        trust_revision: of the last change of what verifiers need.
        roots_revision: of the last change of the authorities.
    """

    def __init__(self) -> None:
        self.domain: Stored[DomainRecord] | None = None
        self.rotation: Stored[RotationRecord] | None = None
        self.authorities: dict[str, Stored[AuthorityRecord]] = {}
        self.tokens: dict[str, Token] = defaultdict(Token)
        self.certificates: dict[str, Stored[Certificate]] = {}
        self.by_identity: dict[str, set[str]] = {}
        self.live = LiveCertificates()
        self.revoked_serials: dict[str, Stored[RevocationRecord]] = {}
        self.revoked_identities: dict[str, Stored[RevocationRecord]] = {}
        self.revoking: set[str] = set()
        self.federated: dict[str, Stored[FederatedBundle]] = {}
        self.followers: dict[str, Stored[FollowerRecord]] = {}
        self.followed: Callable[[], None] = lambda: None
        self.trust_changed: list[Callable[[int], None]] = []
        self.trust_revision = 0
        self.roots_revision = 0
        self._revocation_keys: dict[str, tuple[str, str]] = {}
        self._federated_keys: dict[str, str] = {}
        self._expiries: list[tuple[int, str]] = []
        self._ahead: dict[str, int] = {}
        self._progress = Progress()
        self._appliers: dict[str, Callable[[str, Change], None]] = {
            names.AUTHORITIES: self._apply_authority,
            names.TOKENS: self._apply_token,
            names.USES: self._apply_use,
            names.CERTIFICATES: self._apply_certificate,
            names.REVOCATIONS: self._apply_revocation,
            names.FEDERATED: self._apply_federated,
            names.FOLLOWERS: self._apply_follower,
        }

    @property
    def revision(self) -> int:
        """Everything up to it is in the view."""
        return self._progress.revision

    def load(self, snapshot: Snapshot) -> None:
        """Fills an empty view."""
        for entry in snapshot.entries:
            self._apply(Change(entry.key, entry.value, entry.revision))
        held = [*((entry.key, entry.revision) for entry in snapshot.entries), *snapshot.deleted]
        # A snapshot may hold what is newer than its revision, and the watch then tells of it once more.
        self._ahead = {key: revision for key, revision in held if revision > snapshot.revision}
        deleted = [revision for key, revision in snapshot.deleted if key.startswith(TRUST)]
        self.trust_revision = max(self.trust_revision, *deleted, 0)
        self._progress.advance(snapshot.revision)

    def apply(self, commit: Commit) -> None:
        """Applies a commit, and tells who is interested."""
        before = self.trust_revision
        for change in commit.changes:
            if change.key.startswith(names.PREFIX) and change.revision > self._ahead.get(change.key, 0):
                self._ahead.pop(change.key, None)
                self._apply(change)
        self._progress.advance(commit.revision)
        if self.trust_revision != before:
            self.trust_revision = commit.revision
            for hook in self.trust_changed:
                hook(commit.revision)

    def revoked(self, identity: str, serial: str, issued_ns: int) -> bool:
        """Whether something that was issued is revoked.

        Args:
            identity: whom it is for.
            serial: serial number of a certificate; empty for a token.
            issued_ns: when it was issued, in Unix nanoseconds.
        """
        if serial in self.revoked_serials or identity in self.revoking:
            return True
        stored = self.revoked_identities.get(identity) if self.revoked_identities else None
        return stored is not None and issued_ns <= stored.value.revoke_time.ToNanoseconds()

    def expired(self, before_ns: int) -> list[str]:
        """Returns the serial numbers of the records of certificates that expired before a time, and forgets them here.

        Who does not get to delete the records puts them back with expire().
        """
        found = []
        while self._expiries and self._expiries[0][0] < before_ns:
            found.append(heapq.heappop(self._expiries)[1])
        return [serial for serial in found if serial in self.certificates]

    def expire(self, serials: Iterable[str]) -> None:
        """Has the records found by expired()."""
        for serial in serials:
            stored = self.certificates.get(serial)
            if stored is not None:
                heapq.heappush(self._expiries, (stored.value.expire_time.ToNanoseconds(), serial))

    async def caught_up(self, revision: int) -> None:
        """Returns once everything up to a revision is in the view.

        Raises:
            KernelStopping: the view was closed before.
        """
        await self._progress.reached(revision)

    def close(self) -> None:
        """Notes that nothing is applied any more."""
        self._progress.close()

    def _apply(self, change: Change) -> None:
        key = change.key
        if key.startswith(TRUST):
            self.trust_revision = max(self.trust_revision, change.revision)
        if key == names.DOMAIN or key.startswith(names.AUTHORITIES):
            self.roots_revision = max(self.roots_revision, change.revision)
        if key == names.DOMAIN:
            self.domain = _stored(DomainRecord, change)
        elif key == names.ROTATION:
            self.rotation = _stored(RotationRecord, change)
        else:
            for prefix, apply in self._appliers.items():
                if key.startswith(prefix):
                    apply(key.removeprefix(prefix), change)

    def _apply_authority(self, authority: str, change: Change) -> None:
        stored = _stored(AuthorityRecord, change)
        if stored is None:
            self.authorities.pop(authority, None)
        else:
            self.authorities[authority] = stored

    def _apply_token(self, token: str, change: Change) -> None:
        entry = self.tokens[token]
        entry.record = None if change.value is None else JoinTokenRecord.FromString(change.value)
        entry.revision = 0 if change.value is None else change.revision
        self._forget_token(token)

    def _apply_use(self, path: str, change: Change) -> None:
        token, slot = path.split("/")
        if change.value is None:
            self.tokens[token].uses.pop(int(slot), None)
        else:
            self.tokens[token].uses[int(slot)] = change.value.decode()
        self._forget_token(token)

    def _forget_token(self, token: str) -> None:
        entry = self.tokens[token]
        if entry.record is None and not entry.uses:
            del self.tokens[token]

    def _apply_certificate(self, serial: str, change: Change) -> None:
        stored, known = _stored(Certificate, change), self.certificates.get(serial)
        if stored is None:
            gone = self.certificates.pop(serial, None)
            if gone is not None:
                serials = self.by_identity[gone.value.identity]
                serials.discard(serial)
                if not serials:
                    del self.by_identity[gone.value.identity]
            return
        stored.created = known.created if known is not None else change.revision if self.revision else 0
        self.certificates[serial] = stored
        if known is None:
            self.expire([serial])
        self.by_identity.setdefault(stored.value.identity, set()).add(serial)
        self.live.note(stored.value, stored.value.expire_time.ToNanoseconds())

    def _apply_revocation(self, path: str, change: Change) -> None:
        stored = _stored(RevocationRecord, change)
        if stored is None:
            serial, identity = self._revocation_keys.pop(path, ("", ""))
            self.revoked_serials.pop(serial, None)
            self.revoked_identities.pop(identity, None)
        elif stored.value.serial:
            self._revocation_keys[path] = (stored.value.serial, "")
            self.revoked_serials[stored.value.serial] = stored
        else:
            self._revocation_keys[path] = ("", stored.value.identity)
            self.revoked_identities[stored.value.identity] = stored

    def _apply_federated(self, path: str, change: Change) -> None:
        stored = _stored(FederatedBundle, change)
        if stored is None:
            self.federated.pop(self._federated_keys.pop(path, ""), None)
        else:
            domain = stored.value.bundle.trust_domain
            self._federated_keys[path] = domain
            self.federated[domain] = stored

    def _apply_follower(self, member: str, change: Change) -> None:
        stored = _stored(FollowerRecord, change)
        if stored is None:
            self.followers.pop(member, None)
        else:
            self.followers[member] = stored
        self.followed()


def _stored(kind: type[M], change: Change) -> Stored[M] | None:
    return None if change.value is None else Stored(kind.FromString(change.value), change.revision)
