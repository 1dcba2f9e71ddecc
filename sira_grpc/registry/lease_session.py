"""One HoldLease stream: the lease it holds, and what is registered through it."""

from __future__ import annotations

from asyncio import Future

from sira.registry.v1.registry_service_pb2 import HoldLeaseRequest, HoldLeaseResponse

from sira_grpc.registry.lease_keeper import LeaseKeeper
from sira_grpc.registry.leases import Hold
from sira_grpc.registry.registrar import Registered, Registrar
from sira_grpc.registry.times import seconds
from sira_grpc.registry.view import RegistryView


class LeaseSession:
    """Used by one stream: handle() for each request in turn, then release() or lost().

    Args:
        default_ttl: seconds, for a new lease whose request names none.
    """

    def __init__(
        self, view: RegistryView, keeper: LeaseKeeper, registrar: Registrar, *, default_ttl: float, actor: str
    ) -> None:
        self._view = view
        self._keeper = keeper
        self._registrar = registrar
        self._default_ttl = default_ttl
        self._actor = actor
        self._key = ""
        self._hold: Hold | None = None

    @property
    def ended(self) -> Future[None] | None:
        """Done when the hold has ended from the kernel's side; None before the first request."""
        return self._hold.ended if self._hold is not None else None

    def end(self) -> Exception:
        """Returns why the hold has ended."""
        assert self._hold is not None, "a session that never began has no end"
        return self._keeper.end_of(self._hold, self._view)

    async def handle(self, request: HoldLeaseRequest) -> HoldLeaseResponse:
        """Attaches on the first request; registers and deregisters what each one asks for.

        Raises: as Registrar.register and Registrar.deregister, LeaseNotFound, LeaseNotYours.
        """
        new_key = ""
        if self._hold is None:
            done = await self._attach(request)
            new_key = done.lease_key
        elif request.endpoints:
            done = await self._register(request)
        else:
            done = Registered(self._hold.lease, "", self._view.revision)
        revision = done.revision
        if request.deregister:
            revision = await self._registrar.deregister(request.deregister, lease_key=self._key, actor=self._actor)
        lease = self._keeper.describe(self._view.lease(done.lease))
        return HoldLeaseResponse(lease=lease, lease_key=new_key, revision=revision)

    async def _attach(self, request: HoldLeaseRequest) -> Registered:
        if request.lease_key:
            self._key = request.lease_key
            self._hold = self._keeper.attach(self._key, actor=self._actor)
            return await self._register(request)
        ttl = seconds(request.lease_ttl) if request.HasField("lease_ttl") else self._default_ttl
        done = await self._registrar.register_under_new_lease(
            request.endpoints, ttl=ttl, allow_missing_service=request.allow_missing_service, actor=self._actor
        )
        self._key = done.lease_key
        self._hold = self._keeper.attach(self._key, actor=self._actor)
        return done

    async def _register(self, request: HoldLeaseRequest) -> Registered:
        return await self._registrar.register(
            request.endpoints,
            lease_key=self._key,
            allow_missing_service=request.allow_missing_service,
            actor=self._actor,
        )

    async def release(self) -> None:
        """The caller closed its side: the lease ends, and its endpoints are gone, at once.

        Raises:
            StoreUnavailable: the lease counts as lost then, and runs out.
        """
        if self._hold is None or self._hold.ended.done():
            return
        try:
            await self._keeper.revoke(self._key, "released", actor=self._actor)
        except BaseException:
            self.lost()
            raise

    def lost(self) -> None:
        """The stream broke off."""
        if self._hold is not None:
            self._keeper.lost(self._hold, actor=self._actor)
