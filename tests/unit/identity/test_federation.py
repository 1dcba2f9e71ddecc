"""The bundles of other trust domains: imported, refreshed, and forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest
from google.protobuf.duration_pb2 import Duration
from sira.identity.v1.federated_bundle_pb2 import BundleEndpointProfile, FederatedBundle
from sira.identity.v1.trust_bundle_pb2 import TrustBundle

from sira_grpc.errors import BundleUnavailable, InvalidField, InvalidPageToken, StoreUnavailable, TrustDomainNotFound
from sira_grpc.identity import federation
from sira_grpc.svid import bundle_document, x509_svid
from tests.unit.identity.world import DOMAIN, PATIENCE, World
from tests.unit.svid.authority import Authority

OTHER = "other.test"
URL = "https://other.test/bundle"
ENDPOINT = f"spiffe://{OTHER}/bundle-endpoint"
WEB, SPIFFE = (
    BundleEndpointProfile.BUNDLE_ENDPOINT_PROFILE_HTTPS_WEB,
    BundleEndpointProfile.BUNDLE_ENDPOINT_PROFILE_HTTPS_SPIFFE,
)
ROOT, NEXT = Authority(), Authority()
NOWHERE = FederatedBundle()
BY_WEB = FederatedBundle(endpoint_url=URL, endpoint_profile=WEB)
BY_SPIFFE = FederatedBundle(endpoint_url=URL, endpoint_profile=SPIFFE, endpoint_identity=ENDPOINT)


def document(*authorities: Authority, sequence: int = 1, hint: int = 60, trust_domain: str = OTHER) -> bytes:
    roots = [x509_svid.to_der(one.certificate) for one in authorities or (ROOT,)]
    bundle = TrustBundle(trust_domain=trust_domain, x509_authorities=roots, sequence=sequence)
    bundle.refresh_hint.CopyFrom(Duration(seconds=hint))
    return bundle_document.write(bundle)


async def imported(world: World, endpoint: FederatedBundle = NOWHERE, given: bytes | None = None) -> FederatedBundle:
    """Sets the other trust domain's bundle."""
    return await world.identity.federation.set(OTHER, document() if given is None else given, endpoint)


def sequence(world: World) -> int:
    """Of the bundle as it is stored."""
    return world.identity.view.federated[OTHER].value.bundle.sequence


async def listed(world: World) -> FederatedBundle:
    (found,), _ = await world.identity.federation.page(size=0, token="")
    return found


class Refreshing:
    """Looks whether something is due, as the task behind does, whenever a test says so."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def after(self, seconds: float) -> None:
        """Lets time pass, has what is due refreshed, and waits for it."""
        world, part = self._world, self._world.identity.federation
        asked = len(world.fetcher.asked)
        world.clock.advance(seconds)
        due = [domain for domain, time in part._due.items() if time <= world.clock.monotonic()]
        part._wake.set()
        async with asyncio.timeout(PATIENCE):
            while any(part._due.get(domain, world.clock.monotonic() + 1) <= world.clock.monotonic() for domain in due):
                await asyncio.to_thread(lambda: None)
        await world.turns()
        assert len(world.fetcher.asked) - asked == len(due)


@pytest.fixture
def refreshing(world: World) -> Refreshing:
    return Refreshing(world)


async def test_a_bundle_is_stored_as_it_was_imported(world: World) -> None:
    asked = FederatedBundle(name="federatedBundles/mine", refresh_error="none", bundle=TrustBundle(sequence=99))
    asked.refresh_time.FromSeconds(1)
    made = await world.identity.federation.set(OTHER, document(sequence=7), asked)
    assert (made.name, made.bundle.trust_domain, made.bundle.sequence) == (f"federatedBundles/{OTHER}", OTHER, 7)
    assert list(made.bundle.x509_authorities) == [x509_svid.to_der(ROOT.certificate)]
    assert made.refresh_time.ToNanoseconds() == world.clock.time_ns()
    assert not made.refresh_error
    assert await listed(world) == made
    assert world.identity.trust.bundle(OTHER) == made.bundle
    assert world.identity.status().federated == [OTHER]
    assert not world.fetcher.asked


async def test_without_a_document_it_is_fetched_before_it_is_answered(world: World) -> None:
    world.fetcher.answers[URL] = document(sequence=5)
    made = await imported(world, BY_WEB, b"")
    assert (made.bundle.sequence, made.endpoint_url) == (5, URL)
    assert world.fetcher.asked == [(URL, None, "")]


async def test_where_nobody_answers_nothing_is_stored(world: World) -> None:
    revision = world.store.revision
    with pytest.raises(BundleUnavailable):
        await imported(world, BY_WEB, b"")
    world.fetcher.answers[URL] = b"rubbish"
    with pytest.raises(InvalidField, match="document: must be JSON"):
        await imported(world, BY_WEB, b"")
    assert world.store.revision == revision


NO_IDENTITY = FederatedBundle(endpoint_url=URL, endpoint_profile=SPIFFE)
ELSEWHERE = FederatedBundle(endpoint_url=URL, endpoint_profile=SPIFFE, endpoint_identity="spiffe://third.test/x")
MALFORMED = FederatedBundle(endpoint_url=URL, endpoint_profile=SPIFFE, endpoint_identity=f"spiffe://{OTHER}/..")


@pytest.mark.parametrize(
    ("trust_domain", "given", "endpoint", "fields"),
    [
        (DOMAIN, document(), FederatedBundle(), ["trust_domain"]),
        (OTHER, b"", FederatedBundle(), ["document"]),
        (OTHER, b"", BY_SPIFFE, ["document"]),
        (OTHER, b"x", FederatedBundle(), ["document"]),
        (OTHER, document(), FederatedBundle(endpoint_url=URL), ["endpoint_profile"]),
        (OTHER, document(), FederatedBundle(endpoint_profile=WEB), ["endpoint_profile"]),
        (OTHER, document(), NO_IDENTITY, ["endpoint_identity"]),
        (OTHER, document(), ELSEWHERE, ["endpoint_identity"]),
        (OTHER, document(), MALFORMED, ["endpoint_identity"]),
        (OTHER, document(), FederatedBundle(endpoint_identity=ENDPOINT), ["endpoint_identity"]),
        (DOMAIN, b"", NO_IDENTITY, ["trust_domain", "endpoint_identity", "document"]),
    ],
)
async def test_what_does_not_fit_is_refused(
    world: World, trust_domain: str, given: bytes, endpoint: FederatedBundle, fields: list[str]
) -> None:
    revision = world.store.revision
    with pytest.raises(InvalidField) as caught:
        await world.identity.federation.set(trust_domain, given, endpoint)
    assert [v.field.removeprefix("federated_bundle.") for v in caught.value.violations] == fields
    assert world.store.revision == revision


async def test_there_are_not_too_many(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(federation, "MAX_FEDERATED", 2)
    for name in ("a.test", "b.test"):
        await world.identity.federation.set(name, document(trust_domain=name), FederatedBundle())
    with pytest.raises(InvalidField, match=r"trust_domain: is one too many: at most 2"):
        await imported(world)
    await world.identity.federation.set("a.test", document(trust_domain="a.test"), FederatedBundle())


async def test_they_are_forgotten(world: World) -> None:
    name = (await imported(world, BY_WEB)).name
    await world.identity.federation.delete(name)
    assert world.identity.status().federated == []
    with pytest.raises(TrustDomainNotFound) as caught:
        await world.identity.federation.delete(name)
    assert caught.value.metadata == {"resource": name}


async def test_they_are_listed_page_by_page(world: World) -> None:
    names = [f"d{number}.test" for number in range(5)]
    for name in reversed(names):
        await world.identity.federation.set(name, document(trust_domain=name), FederatedBundle())
    found, token = [], ""
    for size in (2, 2, 1):
        page, token = await world.identity.federation.page(size=2, token=token)
        assert len(page) == size
        found += [one.bundle.trust_domain for one in page]
    assert (found, token) == (names, "")
    with pytest.raises(InvalidPageToken):
        await world.identity.federation.page(size=2, token="abc")


class TestRefreshed:
    """From their endpoints, as often as they ask for."""

    async def test_by_the_authorities_of_the_web(self, world: World, refreshing: Refreshing) -> None:
        await imported(world, BY_WEB)
        await world.turns()
        await refreshing.after(59)
        assert not world.fetcher.asked
        world.fetcher.answers[URL] = document(NEXT, sequence=2)
        await refreshing.after(1)
        assert world.fetcher.asked == [(URL, None, "")]
        assert sequence(world) == 2
        found = await listed(world)
        assert found.refresh_time.ToNanoseconds() == world.clock.time_ns()
        assert found.endpoint_url == URL

    async def test_by_the_identity_of_the_endpoint_and_the_roots_known_so_far(
        self, world: World, refreshing: Refreshing
    ) -> None:
        await imported(world, BY_SPIFFE)
        await world.turns()
        world.fetcher.answers[URL] = document(NEXT, sequence=2)
        for roots in ([ROOT.certificate], [NEXT.certificate]):
            await refreshing.after(60)
            assert world.fetcher.asked[-1] == (URL, roots, ENDPOINT)

    async def test_where_nothing_has_changed_nothing_is_written(self, world: World, refreshing: Refreshing) -> None:
        await imported(world, BY_WEB)
        await world.turns()
        world.fetcher.answers[URL] = document()
        revision = world.store.revision
        await refreshing.after(60)
        assert world.store.revision == revision
        assert world.identity.federation.failing == 0

    @pytest.mark.parametrize(("hint", "seconds"), [(0, 300), (1, 10), (10, 10), (3600, 3600), (100_000, 3600)])
    async def test_within_reason(self, world: World, refreshing: Refreshing, hint: int, seconds: int) -> None:
        await imported(world, BY_WEB, document(hint=hint))
        await world.turns()
        await refreshing.after(seconds - 0.1)
        assert not world.fetcher.asked
        await refreshing.after(0.1)
        assert len(world.fetcher.asked) == 1

    async def test_after_a_restart(self, world: World) -> None:
        await imported(world, BY_WEB)
        await world.restart()
        await world.turns()
        await Refreshing(world).after(60)
        assert len(world.fetcher.asked) == 1

    @pytest.mark.parametrize("answer", [BundleUnavailable("nobody is there"), b"rubbish", b'{"keys": []}'])
    async def test_what_fails_is_told_and_tried_again(
        self, world: World, refreshing: Refreshing, answer: bytes | Exception
    ) -> None:
        await imported(world, BY_WEB)
        await world.turns()
        world.fetcher.answers[URL] = answer
        for _ in range(2):
            await refreshing.after(60)
            assert (await listed(world)).refresh_error
            assert world.identity.federation.failing == 1
            assert sequence(world) == 1
        world.fetcher.answers[URL] = document(sequence=2)
        await refreshing.after(60)
        assert not (await listed(world)).refresh_error
        assert (world.identity.federation.failing, sequence(world)) == (0, 2)

    async def test_a_store_that_is_full_is_told(self, world: World, refreshing: Refreshing) -> None:
        await imported(world, BY_WEB)
        await world.turns()
        world.fetcher.answers[URL] = document(sequence=2)
        world.store.failures.append(StoreUnavailable("the disk is full"))
        await refreshing.after(60)
        assert (await listed(world)).refresh_error == "the disk is full"
        assert not world.identity.failed.is_set()

    async def test_one_that_is_imported_anew_begins_anew(self, world: World, refreshing: Refreshing) -> None:
        await imported(world, BY_WEB)
        await world.turns()
        await refreshing.after(60)
        assert (await listed(world)).refresh_error
        assert not (await imported(world, BY_WEB)).refresh_error
        await world.turns()
        await refreshing.after(59)
        assert len(world.fetcher.asked) == 1

    @pytest.mark.parametrize("change", ["deleted", "by hand", "replaced"])
    async def test_one_that_is_changed_while_it_is_fetched_is_left_alone(self, world: World, change: str) -> None:
        await imported(world, BY_WEB)
        await world.turns()
        world.fetcher.answers[URL] = document(sequence=2)
        world.fetcher.gate.clear()
        world.clock.advance(60)
        world.identity.federation._wake.set()
        await eventually(lambda: len(world.fetcher.asked) == 1)
        match change:
            case "deleted":
                await world.identity.federation.delete(f"federatedBundles/{OTHER}")
            case "by hand":
                await imported(world, given=document(sequence=9))
            case "replaced":
                await imported(world, BY_SPIFFE, document(sequence=9))
        world.fetcher.gate.set()
        part = world.identity.federation
        await eventually(lambda: part._due.keys() == ({OTHER} if change == "replaced" else set()))
        assert part.failing == 0
        if change != "deleted":
            assert sequence(world) == 9
            assert not (await listed(world)).refresh_error
        world.clock.advance(60)
        part._wake.set()
        if change == "replaced":
            await eventually(lambda: len(world.fetcher.asked) == 2 and sequence(world) == 2)
        else:
            await world.turns()
            assert len(world.fetcher.asked) == 1

    async def test_a_few_at_a_time(self, world: World) -> None:
        for number in range(10):
            endpoint = FederatedBundle(endpoint_url=f"https://d{number}.test/", endpoint_profile=WEB)
            await world.identity.federation.set(f"d{number}.test", document(), endpoint)
        await world.turns()
        world.fetcher.gate.clear()
        world.clock.advance(60)
        world.identity.federation._wake.set()
        await eventually(lambda: len(world.fetcher.asked) == federation.AT_ONCE)
        await world.turns()
        assert len(world.fetcher.asked) == federation.AT_ONCE
        world.fetcher.gate.set()
        await eventually(lambda: len(world.fetcher.asked) == 10)


async def eventually(condition: Callable[[], bool]) -> None:
    """Returns once a condition holds, and gives the store's threads turns until then."""
    async with asyncio.timeout(PATIENCE):
        while not condition():
            await asyncio.to_thread(lambda: None)


async def test_who_watches_is_told(world: World) -> None:
    await imported(world)
    watching = world.watch()
    state = await watching.read()
    (bundle,) = state.federated
    assert bundle == world.identity.view.federated[OTHER].value.bundle
    await watching.leave()
