"""A trial: one row of the matrix, in which the world is changed and every column looks at it."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from sira.registry.v1.access_policy_pb2 import AccessPolicy
from sira.registry.v1.service_pb2 import Service
from sira.registry.v1.traffic_policy_pb2 import TrafficPolicy
from sira.xds.v1.client_pb2 import ClientKind
from sira_client import SiraError

from sira_grpc.xds import capabilities
from tests.mesh.cell import PATIENCE, PAUSE, Cell, State
from tests.mesh.columns import Caller
from tests.mesh.secured import Secured
from tests.mesh.world import SECURED, Served, World, service_name


@dataclass(frozen=True)
class Row:
    """A row of the matrix.

    Attributes:
        name: short, for the command line; the id of the service that it is about.
        title: what is shown, for people.
        section: under which heading.
        run: does it.
        unsupported: by kind of client, why it is not supported, with the source.
        alone: whether no other row may run beside it: what it does is felt by all, or some clients must not be
            connected.
        slow: whether it takes long by its nature, so that it is begun before others.
        secured: whether it is about the service that has servers with certificates; it runs alone then.
    """

    name: str
    title: str
    section: str
    run: Callable[[Trial], Awaitable[None]]
    unsupported: Mapping[ClientKind.ValueType, str] = field(default_factory=dict)
    alone: bool = False
    slow: bool = False
    secured: bool = False


@dataclass(frozen=True)
class Context:
    """What a trial may need besides the world.

    Attributes:
        away: seconds that the kernel is away in the row of that.
        secured: the service that has servers with certificates, in the rows that are about it.
    """

    away: float
    secured: Secured | None = None


class Trial:
    """One run of a row.

    Attributes:
        world: what it runs in.
        row: which.
        cells: of the columns that take part, in order.
        service: id of its service.
        away: seconds that the kernel is away in the row of that.
    """

    def __init__(
        self, world: World, row: Row, callers: Sequence[Caller], stack: AsyncExitStack, context: Context
    ) -> None:
        self.world = world
        self.row = row
        self.cells = [Cell(caller, row.name) for caller in callers]
        self.service = SECURED if row.secured else row.name
        self.away = context.away
        self._secured = context.secured
        self._stack = stack
        for cell in self.cells:
            if cell.column.kind in row.unsupported:
                self._leave(cell, State.UNSUPPORTED, row.unsupported[cell.column.kind])

    @property
    def secured(self) -> Secured:
        """The service that has servers with certificates."""
        assert self._secured is not None, "it is there in the rows that are about it"
        return self._secured

    @property
    def open(self) -> list[Cell]:
        """Cells that have not come out yet."""
        return [cell for cell in self.cells if cell.state is State.PASSED]

    async def create(self, policy: TrafficPolicy | None = None) -> None:
        """Creates the service of the row, opens the cells' channels to it, and then gives it its policy.

        So clients that have the service already have to follow. Columns that cannot do what the policy asks for are
        left out, as the capabilities say: their clients are not connected then.
        """
        wanted = Service(name=service_name(self.service), traffic_policy=policy)
        for cell in self.open:
            refused = [limit for limit in capabilities.unsupported(wanted, cell.column.kind) if limit.refused]
            if refused:
                self._leave(cell, State.UNSUPPORTED, _reason(refused[0]))
        await self.world.create(self.service)
        await self.each(lambda cell: cell.open(self.service))
        if policy is not None:
            await self.each(lambda cell: cell.call(timeout=2))  # fails, as there is no endpoint
            await self._patiently(lambda: self.change(traffic_policy=policy))

    async def change(self, **fields: TrafficPolicy | AccessPolicy | None) -> None:
        """Changes the service of the row; see World.change."""
        await self.world.change(self.service, **fields)

    async def endpoint(self, id_: str, *, service: str = "", **terms: Any) -> Served:
        """Has an endpoint until the end of the row, or until its registration is closed; see World.endpoint."""
        return await self._stack.enter_async_context(self.world.endpoint(service or self.service, id_, **terms))

    async def endpoints(self, *ids: str, **terms: Any) -> list[Served]:
        """Has several endpoints that are registered alike."""
        return [await self.endpoint(id_, **terms) for id_ in ids]

    async def each(self, observe: Callable[[Cell], Awaitable[object]]) -> None:
        """Has every cell observe something, all at once. One that cannot has failed, and observes nothing more."""
        await asyncio.gather(*(self.one(cell, observe) for cell in self.open))

    async def one(self, cell: Cell, observe: Callable[[Cell], Awaitable[object]]) -> None:
        """Has one cell observe something. If it cannot, it has failed, and observes nothing more."""
        if cell.state is not State.PASSED:
            return
        try:
            await observe(cell)
        except Exception as error:  # noqa: BLE001 - whatever goes wrong is this cell's alone
            self._leave(cell, State.FAILED, told(error))

    @asynccontextmanager
    async def load(self, **options: Any) -> AsyncIterator[None]:
        """Has every cell under a steady load for the length of the block; not one of its calls may fail."""
        await self.each(lambda cell: cell.load(**options))
        yield
        await self.each(lambda cell: cell.unload())

    async def _patiently(self, write: Callable[[], Awaitable[object]]) -> None:
        """Writes something that is refused as long as clients of an earlier row are connected."""
        loop = asyncio.get_running_loop()
        end = loop.time() + PATIENCE
        while True:
            try:
                await write()
            except SiraError as error:
                if error.reason != "POLICY_NOT_SUPPORTED" or loop.time() > end:
                    raise
                await asyncio.sleep(PAUSE)
            else:
                return

    async def let_go(self, cell: Cell) -> None:
        """Closes the channels of a cell. It has failed if its client has ended."""
        try:
            await cell.close()
        except AssertionError as error:
            self._leave(cell, State.FAILED, told(error))

    def fail(self, error: BaseException) -> None:
        """Has all cells fail that have not come out yet: the row itself went wrong."""
        for cell in self.open:
            self._leave(cell, State.FAILED, told(error))

    def _leave(self, cell: Cell, state: State, note: str) -> None:
        cell.state, cell.note = state, note


@asynccontextmanager
async def trying(world: World, row: Row, callers: Sequence[Caller], context: Context) -> AsyncIterator[Trial]:
    """Has a trial for the length of the block; at its end every channel is let go of, and every endpoint."""
    async with AsyncExitStack() as stack:
        trial = Trial(world, row, callers, stack, context)
        try:
            yield trial
        finally:
            await asyncio.gather(*map(trial.let_go, trial.cells))


def limits(policy: TrafficPolicy) -> dict[ClientKind.ValueType, str]:
    """What kinds of clients make of a policy that they do not do, or not quite, as the capabilities say."""
    found = {kind: capabilities.unsupported(Service(traffic_policy=policy), kind) for kind in capabilities.KINDS}
    return {kind: _reason(limited[0]) for kind, limited in found.items() if limited}


def _reason(limit: capabilities.Limit) -> str:
    return f"{limit.why} ({limit.source})"


def told(error: BaseException) -> str:
    """An error in a line, with where it was."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if "/mesh/rows/" in frame.filename]
    place = f" (line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {error}{place}"
