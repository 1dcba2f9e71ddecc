"""Identity as a whole: puts its parts together, starts them and stops them."""

from __future__ import annotations

from asyncio import Event
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from sira.identity.v1.authority_pb2 import Authority as AuthorityMessage
from sira.identity.v1.authority_pb2 import AuthorityState
from sira.identity.v1.authority_service_pb2 import IdentityStatus

from sira_grpc.clock import Clock
from sira_grpc.config import IdentityConfig
from sira_grpc.errors import ConfigError, RotationUnderWay
from sira_grpc.identity.callers import Callers
from sira_grpc.identity.entitlement import Entitlement
from sira_grpc.identity.federation import BundleFetcher, Federation
from sira_grpc.identity.followers import Followers
from sira_grpc.identity.issuer import Issuer, IssuingTerms
from sira_grpc.identity.join_tokens import JoinTokens
from sira_grpc.identity.local_operator import LocalOperator
from sira_grpc.identity.member import MemberCredentials, member_identity
from sira_grpc.identity.members import Members
from sira_grpc.identity.opening import Opened, open_view
from sira_grpc.identity.own_certificate import OwnCertificate
from sira_grpc.identity.records import Records
from sira_grpc.identity.rotation import Rotator
from sira_grpc.identity.trust import Trust
from sira_grpc.identity.upkeep import Upkeep
from sira_grpc.identity.watchers import Watchers
from sira_grpc.store.api import Store
from sira_grpc.svid.join_secret import fingerprint
from sira_grpc.times import timestamp

OPERATOR_DIRECTORY = "operator"
"""Folder in identity.dir with the local operator's identity."""
ALONE = Members()


class Identity:
    """The parts of identity, each with its own commands, and the tasks that run behind them. Made by open_identity().

    Args:
        opened: see Opened.
        fetcher: of the bundles of other trust domains.
        config: see IdentityConfig.
        host: name of this machine.
        names: DNS names and addresses under which the kernel is reached, besides those of the configuration.
        clock, random_bytes: time and randomness; random_bytes must be unpredictable, as keys are made of it.
    """

    def __init__(
        self,
        opened: Opened,
        fetcher: BundleFetcher,
        config: IdentityConfig,
        *,
        host: str,
        names: Sequence[str],
        clock: Clock,
        random_bytes: Callable[[int], bytes],
    ) -> None:
        self._opened = opened
        self._clock = clock
        view, commits, keyring, forge = opened.view, opened.commits, opened.keyring, opened.forge
        domain = config.trust_domain
        self.view = view
        self._note_root()
        self.founded = opened.founded
        self.trust = Trust(view, keyring, forge, clock, refresh_hint=config.bundle_refresh_hint)
        self.watchers = Watchers(self.trust, clock)
        self.trust.watching = lambda: len(self.watchers)
        self.callers = Callers(view, self.trust, clock, clock_skew=config.clock_skew)
        self.tokens = JoinTokens(view, commits, keyring, trust_domain=domain, clock=clock, random_bytes=random_bytes)
        self.records = Records(view, commits, clock, max_ttl=config.max_certificate_ttl)
        terms = IssuingTerms(config.certificate_ttl, config.max_certificate_ttl)
        entitlement = Entitlement(view, domain)
        self.issuer = Issuer(view, commits, keyring, forge, self.tokens, entitlement, terms, clock)
        placement = opened.members.placement
        self._followers = Followers(view, commits, self.watchers, placement, clock, shared=opened.shared)
        make = partial(opened.founder.make_next, opened.sealer)
        self.rotator = Rotator(
            view, commits, self._followers, make, clock, min_stage=config.rotation_min_stage, members=opened.members
        )
        self.federation = Federation(view, commits, fetcher, clock, trust_domain=domain)
        self.member = MemberCredentials(self.trust, lambda: keyring.shown().id)
        self.operator = LocalOperator(self.trust, Path(config.dir) / OPERATOR_DIRECTORY)
        own = partial(OwnCertificate, view, self.issuer, clock=clock, ttl=config.certificate_ttl)
        member = self.member_identity = member_identity(domain, host)
        named = list(dict.fromkeys((member.dns_name, *config.names, *names)))
        self._own = (
            own(member, named, install=self.member.install),
            own(self.operator.identity, (), install=self.operator.install),
        )
        self._followers.outdated = lambda: sum(certificate.outdated for certificate in self._own)
        self._upkeep = Upkeep(
            opened,
            self.rotator,
            self._followers,
            self.records,
            self.tokens,
            self.member,
            clock,
            retention=config.record_retention,
        )

    async def start(self) -> None:
        """Has the kernel's own certificates issued, and starts the tasks.

        Raises:
            ConfigError: an upstream file cannot be used, or the local operator's directory cannot be written.
            StoreUnavailable: nothing can be written.
        """
        await self._upkeep.renew_intermediate()  # it may have expired while no member ran
        keyring = self._opened.keyring
        member = self._own[0]
        shown = keyring.shown()
        if shown.id != keyring.issuing().id and shown.issuer.not_valid_after_utc.timestamp() > self.trust.now():
            await member.renew(shown.id)
        try:
            for certificate in self._own:
                await certificate.renew()
        except OSError as error:
            raise ConfigError(f"identity.dir: {self.operator.directory} cannot be written: {error.strerror}") from error
        self.view.trust_changed.append(self._trust_changed)
        self._trust_changed(self.view.trust_revision)  # by another member, while these were issued
        await self._followers.start()
        upstream = await self._opened.founder.changed_upstream(self._opened.sealer)
        if upstream is not None and self.view.rotation is None:
            with suppress(RotationUnderWay):  # another member has begun it, with the same files
                await self.rotator.start(upstream)
        self.watchers.advanced = self._look
        self.view.followed = self.rotator.look
        background = self._opened.background
        for certificate in self._own:
            background.own(certificate.run(), f"certificate of {certificate.identity}")
        background.own(self.operator.run(), "local operator")
        background.own(self.rotator.run(), "rotation")
        background.own(self.federation.run(), "federation")
        background.own(self.watchers.run(), "revocation lists")
        background.own(self._upkeep.run(), "upkeep of identity")
        background.own(self._upkeep.run_for_all(), "upkeep of identity for all")
        if self._opened.shared:
            background.own(self._followers.run(), "following of the rotation")

    @property
    def failed(self) -> Event:
        """A task has ended that must not."""
        return self._opened.background.failed

    @property
    def root_fingerprint(self) -> str:
        """SHA-256 of the root that the kernel itself can be verified with, hex."""
        return fingerprint(self._opened.keyring.shown().root)

    @property
    def root_expiry(self) -> float:
        """When the root expires below which certificates are issued, in Unix seconds. May be read on any thread."""
        return self._root_expiry

    def status(self) -> IdentityStatus:
        """Tells how identity is."""
        domain = self.view.domain
        assert domain is not None, "it was founded before it was started"
        return IdentityStatus(
            trust_domain=domain.value.trust_domain,
            authorities=self._authorities(),
            rotation=self.rotator.describe(),
            last_rotation_time=domain.value.last_rotation_time if domain.value.HasField("last_rotation_time") else None,
            watchers=len(self.watchers),
            live_certificates=self.view.live.count(self._clock.time_ns()),
            join_tokens=self.tokens.usable,
            federated=sorted(self.view.federated),
        )

    async def close(self) -> None:
        """Finishes the commands under way and stops the tasks."""
        await self._followers.leave()
        await self._opened.close()

    def _authorities(self) -> list[AuthorityMessage]:
        domain = self.view.domain
        assert domain is not None, "it was founded before it was started"
        found = sorted(self.view.authorities.items(), key=lambda item: item[1].value.create_time.ToNanoseconds())
        return [self._describe(authority, domain.value.issuing, domain.value.trusted) for authority, _ in found]

    def _describe(self, authority: str, issuing: str, trusted: Sequence[str]) -> AuthorityMessage:
        known = self._opened.keyring.get(authority)
        state = AuthorityState.AUTHORITY_STATE_RETIRED
        if authority == issuing:
            state = AuthorityState.AUTHORITY_STATE_ISSUING
        elif authority in trusted:
            state = AuthorityState.AUTHORITY_STATE_TRUSTED
        return AuthorityMessage(
            id=authority,
            state=state,
            root_sha256=fingerprint(known.root),
            root_expire_time=timestamp(round(known.root.not_valid_after_utc.timestamp() * 1e9)),
            intermediate_expire_time=timestamp(round(known.issuer.not_valid_after_utc.timestamp() * 1e9)),
            jwt_key_id=known.record.jwt_key_id,
            external=known.external,
            create_time=known.record.create_time,
            live_certificates=self.view.live.count(self._clock.time_ns(), authority),
        )

    def _note_root(self) -> None:
        self._root_expiry = self._opened.keyring.issuing().root.not_valid_after_utc.timestamp()

    def _trust_changed(self, revision: int) -> None:
        self._note_root()
        self.member.refresh()
        for certificate in self._own:
            certificate.trust_changed()
        self.operator.trust_changed()
        self.watchers.wake(revision)
        self._look()

    def _look(self) -> None:
        self.rotator.look()
        self._followers.look()


async def open_identity(
    store: Store,
    fetcher: BundleFetcher,
    config: IdentityConfig,
    *,
    host: str,
    names: Sequence[str],
    clock: Clock,
    random_bytes: Callable[[int], bytes],
    members: Members = ALONE,
) -> Identity:
    """Opens identity and starts it: see Identity.

    Args:
        members: the others on the same store; by default, there are none.

    Raises:
        ConfigError: the keys cannot be opened, the configuration does not fit the store, or the local operator's
            directory cannot be written.
        StoreUnavailable: nothing can be written.
    """
    opened = await open_view(store, config, members, clock=clock, random_bytes=random_bytes)
    try:
        identity = Identity(opened, fetcher, config, host=host, names=names, clock=clock, random_bytes=random_bytes)
        await identity.start()
    except BaseException:
        await opened.close()
        raise
    return identity
