"""Identity on the real store, on time that stands still, with bundle endpoints that answer what a test tells."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from sira.identity.v1.certificate_pb2 import Certificate
from sira.identity.v1.identity_service_pb2 import WatchTrustBundlesResponse
from sira.identity.v1.join_token_pb2 import JoinToken
from sira.identity.v1.rotation_pb2 import RotationStage

from sira_grpc.config import IdentityConfig
from sira_grpc.errors import BundleUnavailable
from sira_grpc.identity.callers import Caller
from sira_grpc.identity.identity import Identity, open_identity
from sira_grpc.identity.members import Members
from sira_grpc.identity.watchers import Watcher
from sira_grpc.store import Store, open_sqlite
from sira_grpc.svid import signing_request, x509_svid
from sira_grpc.svid.spiffe_id import SpiffeId
from tests.clocks import FakeClock
from tests.unit.registry.world import GatedStore, seeded_bytes

DOMAIN = "td.test"
WEB, API = (f"spiffe://{DOMAIN}/ns/default/svc/{name}" for name in ("web", "api"))
NODE = f"spiffe://{DOMAIN}/node/n1"
SERVICES = f"spiffe://{DOMAIN}/ns/default/svc/*"
HOST = "host"
PUBLISHING = RotationStage.ROTATION_STAGE_PUBLISHING
ISSUING = RotationStage.ROTATION_STAGE_ISSUING
RETIRING = RotationStage.ROTATION_STAGE_RETIRING
Stage: TypeAlias = RotationStage.ValueType
MIN_STAGE = 300
WATCHERS_BACK = 6
"""Seconds after a restart by which watchers that have not come back are taken for gone."""
PATIENCE = 20
"""Real seconds after which a test gives up."""


class ToldFetcher:
    """Answers for each URL with what it was told; otherwise that there is nobody. Keeps what it was asked.

    Attributes:
        answers: documents, or errors, by URL.
        asked: the URL, the roots and the identity of each fetch.
    """

    def __init__(self) -> None:
        self.answers: dict[str, bytes | Exception] = {}
        self.asked: list[tuple[str, Sequence[x509.Certificate] | None, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def fetch(self, url: str, *, roots: Sequence[x509.Certificate] | None, identity: str) -> bytes:
        self.asked.append((url, roots, identity))
        await self.gate.wait()
        answer = self.answers.get(url, BundleUnavailable(f"{url}: nobody is there"))
        if isinstance(answer, Exception):
            raise answer
        return answer


@dataclass(frozen=True)
class Held:
    """A certificate that was issued, as its holder has it."""

    record: Certificate
    chain: list[x509.Certificate]
    key: ec.EllipticCurvePrivateKey

    @property
    def serial(self) -> str:
        return self.record.serial

    @property
    def leaf(self) -> x509.Certificate:
        return self.chain[0]


class World:
    """One identity and what is around it. restart() goes on from the same store, as a kernel does."""

    def __init__(self, path: Path, clock: FakeClock, config: IdentityConfig) -> None:
        self.path = path
        self.clock = clock
        self.config = config
        self.fetcher = ToldFetcher()
        self.store: GatedStore
        self.identity: Identity
        self.random_bytes = seeded_bytes(1)
        self.members = Members()
        self.runs = False
        self.start_failures: list[Exception] = []
        """What the first commits of the next start fail with."""

    async def open_store(self) -> GatedStore:
        return GatedStore(await open_sqlite(self.path / "data", clock=self.clock))

    async def start(self) -> None:
        self.store = await self.open_store()
        self.store.failures, self.start_failures = self.start_failures, []
        try:
            self.identity = await open_identity(
                cast(Store, self.store),
                self.fetcher,
                self.config,
                host=HOST,
                names=["localhost", "127.0.0.1"],
                clock=self.clock,
                random_bytes=self.random_bytes,
                members=self.members,
            )
        except BaseException:
            await self.store.close()
            raise
        self.runs = True

    async def stop(self) -> None:
        self.runs = False
        self.store.open()
        self.fetcher.gate.set()
        await self.identity.close()
        await self.store.close()

    async def restart(self, *, after: float = 0.0) -> None:
        """Stops, lets time pass, and starts again."""
        await self.stop()
        self.clock.advance(after)
        await self.start()

    async def until(self, condition: Callable[[], object]) -> None:
        """Returns once a condition holds, which is looked at after each commit."""
        view = self.identity.view
        async with asyncio.timeout(PATIENCE):
            while not condition():
                await view.caught_up(view.revision + 1)

    async def turns(self, count: int = 20) -> None:
        """Lets every task that can go on without the store go on."""
        for _ in range(count):
            await asyncio.sleep(0)

    async def token(self, *identities: str, ttl: float = 3600.0, **fields: Any) -> str:
        """Creates a join token and returns its secret."""
        asked = JoinToken(identities=identities or (SERVICES,), **fields)
        _, secret = await self.identity.tokens.create(asked, ttl=ttl, actor="test")
        return str(secret)

    async def issue(
        self,
        identity: str = WEB,
        *dns_names: str,
        join_token: str = "",
        caller: Caller | None = None,
        ttl: float | None = None,
        supersedes: str = "",
    ) -> Held:
        """Has a certificate issued for a new key."""
        key, csr = signing_request.make(SpiffeId.parse(identity), dns_names)
        issued = await self.identity.issuer.certificate(
            csr,
            join_token=join_token,
            ttl=ttl,
            supersedes=supersedes,
            caller=caller,
            actor=caller.name if caller else "127.0.0.1",
        )
        return Held(issued.record, [x509_svid.read_der(der) for der in issued.chain], key)

    async def join(self, identity: str = WEB, *dns_names: str, ttl: float | None = None, **fields: Any) -> Held:
        """Has a certificate issued for a join token made for it."""
        secret = await self.token(identity, **fields)
        return await self.issue(identity, *dns_names, join_token=secret, ttl=ttl)

    async def renew(self, held: Held, *, ttl: float | None = None) -> Held:
        """Has a holder renew what it holds."""
        return await self.issue(held.record.identity, caller=self.caller(held), ttl=ttl)

    def caller(self, held: Held) -> Caller:
        """Who shows a certificate. Raises what the kernel refuses it with."""
        leaf, *rest = (x509_svid.to_pem([certificate]) for certificate in held.chain)
        return self.identity.callers.by_certificate(leaf, b"".join(rest))

    def jwt(self, held: Held, *audiences: str, ttl: float = 300) -> str:
        """A token for the holder of a certificate."""
        return self.identity.issuer.jwt("", audiences or (f"spiffe://{DOMAIN}",), ttl=ttl, caller=self.caller(held))[0]

    def watch(self, *, acknowledges: bool = True) -> Watching:
        """Opens a watch."""
        return Watching(self, acknowledges=acknowledges)

    @property
    def stage(self) -> Stage | None:
        """Stage of the rotation; None if none is under way."""
        stored = self.identity.view.rotation
        return stored.value.stage if stored is not None else None

    @property
    def trusted(self) -> list[str]:
        """Ids of the authorities in the bundle."""
        domain = self.identity.view.domain
        assert domain is not None
        return list(domain.value.trusted)

    @property
    def issuing(self) -> str:
        """Id of the authority that issues."""
        domain = self.identity.view.domain
        assert domain is not None
        return domain.value.issuing

    async def passes(self, seconds: float = MIN_STAGE) -> None:
        """Lets time pass, and the rotation look."""
        self.clock.advance(seconds)
        self.identity.rotator.look()
        await self.turns()

    def record(self, serial: str) -> Certificate:
        """The record of a certificate."""
        return self.identity.view.certificates[serial].value

    def live(self, authority: str = "") -> int:
        """How many certificates count."""
        return self.identity.view.live.count(self.clock.time_ns(), authority)


Worlds = Callable[..., World]
"""Makes a world that is not started, with a configuration if one is given."""


class Watching:
    """A watcher of the trust state, that reads when a test tells it to."""

    def __init__(self, world: World, *, acknowledges: bool) -> None:
        self.watcher: Watcher = world.identity.watchers.open(acknowledges=acknowledges)
        self._messages = self.watcher.messages()

    async def read(self) -> WatchTrustBundlesResponse:
        """Waits for the next state."""
        async with asyncio.timeout(PATIENCE):
            return WatchTrustBundlesResponse.FromString(await anext(self._messages))

    async def use(self) -> WatchTrustBundlesResponse:
        """Waits for the next state and acknowledges it."""
        state = await self.read()
        self.watcher.acknowledge(state.revision)
        return state

    async def leave(self) -> None:
        await self._messages.aclose()
        self.watcher.close()
