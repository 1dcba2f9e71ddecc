"""Federation: the trust bundles of other trust domains, imported by operators and refreshed from their endpoints."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from contextlib import suppress
from typing import Protocol
from urllib.parse import urlsplit

from cryptography import x509
from sira.identity.v1.federated_bundle_pb2 import BundleEndpointProfile, FederatedBundle
from sira.identity.v1.trust_bundle_pb2 import TrustBundle

from sira_grpc.clock import Clock
from sira_grpc.commits import Commits
from sira_grpc.errors import (
    BundleUnavailable,
    Conflict,
    FieldViolation,
    InvalidField,
    StoreUnavailable,
    TrustDomainNotFound,
)
from sira_grpc.identity import names
from sira_grpc.identity.view import IdentityView, Stored
from sira_grpc.pages import take_page
from sira_grpc.store.api import Delete, Op, Put
from sira_grpc.svid import bundle_document, x509_svid
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.times import NANOS, timestamp

WEB = BundleEndpointProfile.BUNDLE_ENDPOINT_PROFILE_HTTPS_WEB
SPIFFE = BundleEndpointProfile.BUNDLE_ENDPOINT_PROFILE_HTTPS_SPIFFE
MIN_REFRESH_SECONDS = 10.0
DEFAULT_REFRESH_SECONDS = 300.0
MAX_REFRESH_SECONDS = 3600.0
MAX_FEDERATED = 100
MAX_NAME = 240
AT_ONCE = 4
"""Endpoints that are asked at the same time."""

log = logging.getLogger(__name__)


class BundleFetcher(Protocol):
    """Fetches the documents of bundle endpoints."""

    async def fetch(self, url: str, *, roots: Sequence[x509.Certificate] | None, identity: str) -> bytes:
        """Fetches a document.

        Args:
            url: https.
            roots: that the endpoint's X.509-SVID is verified with; None for the profile of public authorities.
            identity: SPIFFE ID of the endpoint, with roots.

        Raises:
            BundleUnavailable: says why.
        """


class Federation:
    """The commands on federated bundles, and their refreshing."""

    def __init__(
        self, view: IdentityView, commits: Commits, fetcher: BundleFetcher, clock: Clock, *, trust_domain: str
    ) -> None:
        self._view = view
        self._commits = commits
        self._fetcher = fetcher
        self._clock = clock
        self._trust_domain = trust_domain
        self._errors: dict[str, str] = {}
        self._due: dict[str, float] = {}
        self._wake = asyncio.Event()

    async def set(self, trust_domain: str, document: bytes, endpoint: FederatedBundle) -> FederatedBundle:
        """Imports a bundle, or replaces it.

        Raises:
            InvalidField: the document or the endpoint breaks a rule.
            BundleUnavailable: there is no document, and the endpoint did not answer with one.
        """
        self._check(trust_domain, document, endpoint)
        if not document:
            document = await self._fetcher.fetch(endpoint.endpoint_url, roots=None, identity="")
        made = FederatedBundle(
            name=names.FEDERATED_NAME + trust_domain,
            bundle=_read(trust_domain, document),
            endpoint_url=endpoint.endpoint_url,
            endpoint_profile=endpoint.endpoint_profile,
            endpoint_identity=endpoint.endpoint_identity,
            refresh_time=timestamp(self._clock.time_ns()),
        )

        def plan() -> list[Op]:
            if trust_domain not in self._view.federated and len(self._view.federated) >= MAX_FEDERATED:
                rule = f"is one too many: at most {MAX_FEDERATED} trust domains are federated with"
                raise InvalidField([FieldViolation("trust_domain", rule)])
            return [Put(names.federated_key(trust_domain), made.SerializeToString())]

        await self._commits.run(self._commits.apply(plan))
        self._errors.pop(trust_domain, None)
        self._due.pop(trust_domain, None)
        self._wake.set()
        return self.describe(self._view.federated[trust_domain])

    async def delete(self, name: str) -> None:
        """Forgets a bundle.

        Raises:
            TrustDomainNotFound.
        """
        trust_domain = name.removeprefix(names.FEDERATED_NAME)

        def plan() -> list[Op]:
            stored = self._view.federated.get(trust_domain)
            if stored is None:
                raise TrustDomainNotFound(f"{name} is not there", metadata={"resource": name})
            return [Delete(names.federated_key(trust_domain), stored.revision)]

        await self._commits.run(self._commits.apply(plan))

    async def page(self, *, size: int, token: str) -> tuple[list[FederatedBundle], str]:
        """Lists bundles by trust domain. Raises: InvalidPageToken."""

        def load(trust_domain: str) -> FederatedBundle | None:
            stored = self._view.federated.get(trust_domain)
            return self.describe(stored) if stored is not None else None

        return await take_page(self._view.federated, load, None, size=size, token=token, query="federatedBundles")

    def describe(self, stored: Stored[FederatedBundle]) -> FederatedBundle:
        """Returns a bundle with how its refreshing went."""
        described = FederatedBundle()
        described.CopyFrom(stored.value)
        described.refresh_error = self._errors.get(stored.value.bundle.trust_domain, "")
        return described

    @property
    def failing(self) -> int:
        """How many could not be refreshed the last time."""
        return len(self._errors)

    async def run(self) -> None:
        """Refreshes for ever; cancelled by its owner."""
        while True:
            self._wake.clear()
            now = self._clock.monotonic()
            for gone in self._due.keys() - self._view.federated.keys():
                del self._due[gone]
                self._errors.pop(gone, None)
            for trust_domain, stored in self._view.federated.items():
                if stored.value.endpoint_url:
                    self._due.setdefault(trust_domain, now + _interval(stored.value.bundle))
            due = [trust_domain for trust_domain, time in self._due.items() if time <= now]
            for start in range(0, len(due), AT_ONCE):
                await asyncio.gather(*(self._refresh(trust_domain) for trust_domain in due[start : start + AT_ONCE]))
            next_time = min(self._due.values(), default=None)
            wait = None if next_time is None else max(0.0, next_time - self._clock.monotonic())
            with suppress(TimeoutError):  # and not wait_for(), which on Python 3.11 may swallow a cancellation
                async with asyncio.timeout(wait):
                    await self._wake.wait()

    async def _refresh(self, trust_domain: str) -> None:
        stored = self._view.federated.get(trust_domain)
        if stored is None or not stored.value.endpoint_url:  # it was deleted or replaced since
            self._due.pop(trust_domain, None)
            self._errors.pop(trust_domain, None)
            return
        known = stored.value
        try:
            bundle = await self._fetch(known)
            if bundle != known.bundle:
                await self._replace(stored, bundle)
            self._errors.pop(trust_domain, None)
        except Conflict:  # it was replaced or deleted since: it is due as that says
            self._due.pop(trust_domain, None)
            return
        except (BundleUnavailable, InvalidField, StoreUnavailable) as error:
            if trust_domain not in self._errors:
                log.warning("the bundle of %s cannot be refreshed: %s", trust_domain, error)
            self._errors[trust_domain] = str(error)
            bundle = known.bundle
        self._due[trust_domain] = self._clock.monotonic() + _interval(bundle)

    async def _fetch(self, known: FederatedBundle) -> TrustBundle:
        roots = None
        if known.endpoint_profile == SPIFFE:
            roots = [x509_svid.read_der(der) for der in known.bundle.x509_authorities]
        document = await self._fetcher.fetch(known.endpoint_url, roots=roots, identity=known.endpoint_identity)
        return _read(known.bundle.trust_domain, document)

    async def _replace(self, stored: Stored[FederatedBundle], bundle: TrustBundle) -> None:
        made = FederatedBundle()
        made.CopyFrom(stored.value)
        made.bundle.CopyFrom(bundle)
        made.refresh_time.CopyFrom(timestamp(self._clock.time_ns()))
        key = names.federated_key(bundle.trust_domain)
        await self._commits.write([Put(key, made.SerializeToString(), stored.revision)])

    def _check(self, trust_domain: str, document: bytes, endpoint: FederatedBundle) -> None:
        within = "federated_bundle."
        broken = []
        if len(trust_domain) > MAX_NAME:
            broken.append(
                FieldViolation("trust_domain", f"must have at most {MAX_NAME} characters: files are named by it")
            )
        if trust_domain == self._trust_domain:
            broken.append(FieldViolation("trust_domain", "must be another one than the kernel's own"))
        if endpoint.endpoint_url and not _has_host(endpoint.endpoint_url):
            broken.append(FieldViolation(f"{within}endpoint_url", "must be an https URL with a host and no user"))
        if bool(endpoint.endpoint_url) != bool(endpoint.endpoint_profile):
            broken.append(FieldViolation(f"{within}endpoint_profile", "must be given with endpoint_url, and only then"))
        if (endpoint.endpoint_profile == SPIFFE) != bool(endpoint.endpoint_identity):
            rule = "must be given with the profile HTTPS_SPIFFE, and only then"
            broken.append(FieldViolation(f"{within}endpoint_identity", rule))
        elif endpoint.endpoint_identity and not _of(trust_domain, endpoint.endpoint_identity):
            rule = f"must be a SPIFFE ID of the trust domain {trust_domain}"
            broken.append(FieldViolation(f"{within}endpoint_identity", rule))
        if not document and endpoint.endpoint_profile != WEB:
            rule = "must not be empty unless there is an endpoint of the profile HTTPS_WEB to fetch it from"
            broken.append(FieldViolation("document", rule))
        if broken:
            raise InvalidField(broken)


def _has_host(url: str) -> bool:
    try:
        parts = urlsplit(url)
    except ValueError:
        return False
    return bool(parts.hostname) and "@" not in parts.netloc


def _of(trust_domain: str, identity: str) -> bool:
    try:
        return SpiffeId.parse(identity).trust_domain == trust_domain
    except ValueError:
        return False


def _read(trust_domain: str, document: bytes) -> TrustBundle:
    try:
        return bundle_document.read(trust_domain, document)
    except ValueError as error:
        raise InvalidField([FieldViolation("document", str(error))]) from error


def _interval(bundle: TrustBundle) -> float:
    """Seconds until a bundle is refreshed: what its trust domain asks for, within reason."""
    hint = bundle.refresh_hint.seconds + bundle.refresh_hint.nanos / NANOS
    return min(max(hint or DEFAULT_REFRESH_SECONDS, MIN_REFRESH_SECONDS), MAX_REFRESH_SECONDS)
