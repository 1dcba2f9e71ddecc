"""One HoldLease stream: the lease it holds, and what is registered through it."""

from __future__ import annotations

from asyncio import Future

from sira.registry.v1.registry_service_pb2 import HoldLeaseRequest, HoldLeaseResponse

from sira_grpc.errors import FieldViolation, InvalidField
from sira_grpc.registry.lease_keeper import LeaseKeeper
from sira_grpc.registry.registrar import Registered, Registrar
from sira_grpc.registry.tenure import Hold
from sira_grpc.registry.view import RegistryView
from sira_grpc.times import seconds


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

        A request that is refused changes nothing, and attaches nothing.

        Raises: as Registrar.register and Registrar.deregister, LeaseNotFound, LeaseNotYours.
        """
        key = self._key or request.lease_key
        await self._check_deregister(request, key)
        done = await self._register(request, key)
        revision = done.revision
        if self._hold is None:
            self._key = key or done.lease_key
            self._hold = await self._keeper.attach(self._key, actor=self._actor)
        if request.deregister:
            revision = await self._registrar.deregister(request.deregister, lease_key=self._key, actor=self._actor)
        lease = self._keeper.describe(self._view.lease(done.lease))
        return HoldLeaseResponse(lease=lease, lease_key=done.lease_key, revision=revision)

    async def _check_deregister(self, request: HoldLeaseRequest, key: str) -> None:
        """Looks at what is to be removed before anything is registered: it is written apart."""
        registered = {endpoint.name for endpoint in request.endpoints}
        lease = await self._keeper.lease_of(key) if key and request.deregister else ""
        for i, name in enumerate(request.deregister):
            if name in registered:
                raise InvalidField([FieldViolation(f"deregister[{i}]", "must not be in endpoints too")])
            await self._registrar.surely_under(name, lease)

    async def _register(self, request: HoldLeaseRequest, key: str) -> Registered:
        if key:
            return await self._registrar.register(
                request.endpoints,
                lease_key=key,
                allow_missing_service=request.allow_missing_service,
                actor=self._actor,
            )
        ttl = seconds(request.lease_ttl) if request.HasField("lease_ttl") else self._default_ttl
        return await self._registrar.register_under_new_lease(
            request.endpoints, ttl=ttl, allow_missing_service=request.allow_missing_service, actor=self._actor
        )

    def farewell(self) -> HoldLeaseResponse:
        """Returns the answer to a caller that has closed its side, before release()."""
        assert self._hold is not None, "a session that never began has no end"
        lease = self._keeper.describe(self._view.lease(self._hold.lease))
        return HoldLeaseResponse(lease=lease, revision=self._view.revision)

    async def release(self) -> None:
        """The caller closed its side: the lease ends, and its endpoints are gone, at once.

        Raises:
            StoreUnavailable: the lease counts as lost then, and runs out.
        """
        if self._hold is None or self._hold.ended.done():
            return
        try:
            await self._keeper.release(self._hold, actor=self._actor)
        except BaseException:
            self.lost()
            raise

    def lost(self) -> None:
        """The stream broke off."""
        if self._hold is not None:
            self._keeper.lost(self._hold, actor=self._actor)
