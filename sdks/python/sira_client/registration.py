"""A registration: one endpoint, under a lease that this process holds."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import TYPE_CHECKING, Self

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthState
from sira.registry.v1.load_pb2 import EndpointLoad
from sira.registry.v1.registry_service_pb2 import (
    DrainRequest,
    DrainResponse,
    HealthReport,
    ReportHealthRequest,
    UpdateEndpointRequest,
)

from sira_client.addresses import own_address
from sira_client.errors import SiraError, UnavailableError
from sira_client.lease import FINAL, LeaseHolder, RegistrationState
from sira_client.link import Link
from sira_client.load_reporter import LoadReporter
from sira_client.settings import Settings

if TYPE_CHECKING:  # this is only in the stubs
    from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Terms:
    """How a registration begins and ends.

    Attributes:
        ttl: how long, in seconds, the lease outlives its stream; None for the kernel's default.
        allow_missing_service: create the service if it is not there.
        timeout: how long, in seconds, to try to register at first.
        drain_timeout: how long, in seconds, to drain at the end; 0 for not at all.
    """

    ttl: float | None
    allow_missing_service: bool
    timeout: float
    drain_timeout: float


class Registration:
    """An endpoint that is registered from the beginning of an `async with` block to its end.

    It outlives kernel restarts and lost connections. At the end of the block the endpoint is drained, so that callers
    go elsewhere before it is gone, and then deregistered.

    Args:
        link: to the kernel.
        registry: the kernel's RPCs, with default deadlines and typed errors.
        settings: of the client.
        endpoint: what to register. Without an address, it gets the one from which this machine reaches the kernel.
        terms: how it begins and ends.
    """

    def __init__(
        self,
        link: Link,
        registry: RegistryServiceAsyncStub,
        settings: Settings,
        endpoint: Endpoint,
        terms: Terms,
    ) -> None:
        self._link = link
        self._registry = registry
        self._settings = settings
        self._endpoint = endpoint
        self._terms = terms
        self._holder = LeaseHolder(
            link, settings, [endpoint], ttl=terms.ttl, allow_missing_service=terms.allow_missing_service
        )
        self._reporter = LoadReporter(link, settings, lambda: self._holder.key)
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def name(self) -> str:
        """Resource name of the endpoint."""
        return self._endpoint.name

    @property
    def endpoint(self) -> Endpoint:
        """A copy of the endpoint as it is registered."""
        copy = Endpoint()
        copy.CopyFrom(self._endpoint)
        return copy

    @property
    def state(self) -> RegistrationState:
        """How the registration is."""
        return self._holder.state

    @property
    def error(self) -> SiraError | None:
        """Why it failed, or why it is being connected again. None while all is well."""
        return self._holder.error

    @property
    def closed(self) -> bool:
        """Whether it was begun and has ended."""
        return bool(self._tasks) and all(task.done() for task in self._tasks)

    async def changed(self) -> None:
        """Waits for the next change of `state` or `error`."""
        await self._holder.changed()

    async def wait_for(self, *states: RegistrationState) -> RegistrationState:
        """Waits until the registration is in one of these states, and returns which.

        Raises:
            SiraError: it came to a state that it cannot leave.
        """
        while self.state not in states:
            if self.state in FINAL:
                raise self.error or UnavailableError(f"{self.name} is {self.state.value}")
            await self._holder.changed()
        return self.state

    async def update(
        self,
        *,
        weight: int | None = None,
        metadata: Mapping[str, str] | None = None,
        tags: Iterable[str] | None = None,
        version: str | None = None,
    ) -> Endpoint:
        """Changes what is registered. What is None stays. Returns the endpoint as stored.

        Raises:
            SiraError: the kernel refused, or is not there: nothing was changed. At DEADLINE_EXCEEDED it may have been.
        """
        changed = Endpoint(name=self.name)
        if weight is not None:
            changed.weight = weight
        if metadata is not None:
            changed.metadata.update(metadata)
        if tags is not None:
            changed.tags.extend(tags)
        if version is not None:
            changed.version = version
        given = {"weight": weight, "metadata": metadata, "tags": tags, "version": version}
        mask = FieldMask(paths=[field for field, value in given.items() if value is not None])
        if not mask.paths:
            return self.endpoint
        response = await self._registry.UpdateEndpoint(UpdateEndpointRequest(endpoint=changed, update_mask=mask))
        for field in mask.paths:
            self._endpoint.ClearField(field)  # type: ignore[arg-type]  # the stub knows only literal names
        self._endpoint.MergeFrom(changed)
        return response.endpoint

    def report_load(self, *, in_flight: int, utilization: float = 0.0) -> None:
        """Tells how busy the endpoint is, for least request and for drain. Never blocks: the latest is sent soon.

        Args:
            in_flight: requests being served right now.
            utilization: share of the capacity in use; 1 is full.
        """
        self._reporter.report(EndpointLoad(name=self.name, in_flight=in_flight, utilization=utilization))

    async def report_health(self, state: HealthState.ValueType, cause: str = "") -> None:
        """Says how the endpoint is. It must have a TTL check, and say so again before the check's TTL is over.

        Raises:
            SiraError: the kernel refused, or is not there.
        """
        await self.wait_for(RegistrationState.HELD)
        report = HealthReport(name=self.name, state=state, cause=cause)
        await self._registry.ReportHealth(ReportHealthRequest(lease_key=self._holder.key, reports=[report]))

    async def drain(self, wait: float = 30.0, cause: str = "") -> DrainResponse:
        """Has callers go elsewhere, and waits until they do and nothing is in flight, or `wait` seconds are over.

        Raises:
            SiraError: the kernel refused, or is not there.
        """
        request = DrainRequest(names=[self.name], cause=cause)
        request.timeout.FromNanoseconds(round(wait * 1e9))
        with self._reporter.hurried():
            return await self._registry.Drain(request, timeout=wait + self._settings.default_timeout)

    async def close(self) -> None:
        """Drains, deregisters and ends the registration. Does nothing more if it has ended."""
        try:
            if self._terms.drain_timeout and self.state is RegistrationState.HELD:
                await self._drain_quietly()
        finally:
            self._holder.release()
            if self._tasks:
                holding, reporting = self._tasks
                reporting.cancel()
                await asyncio.wait([holding, reporting])

    async def _drain_quietly(self) -> None:
        try:
            await self.drain(self._terms.drain_timeout, "the service is stopping")
        except grpc.aio.AioRpcError as error:
            _log.warning("%s could not be drained before it was deregistered: %s", self.name, error)

    async def __aenter__(self) -> Self:
        """Registers, trying again while the kernel is not there, up to the timeout.

        Raises:
            SiraError: the kernel refused, or was not there in time.
            OSError: no address was given, and there is no way to the kernel to tell it from.
        """
        if not self._endpoint.addresses:
            self._endpoint.addresses.append(await own_address(self._link.member.address))
        loop = asyncio.get_running_loop()
        self._tasks = [loop.create_task(self._holder.run()), loop.create_task(self._reporter.run())]
        try:
            async with asyncio.timeout(self._terms.timeout):
                await self.wait_for(RegistrationState.HELD)
        except TimeoutError:
            error = self.error
            await self.close()
            message = "no answer" if error is None else error.message
            raise UnavailableError(f"{self.name} could not be registered in time: {message}") from error
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """Drains and deregisters."""
        await self.close()
