"""The targets that the calls of a channel go to, each opened while it is needed."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterable

from sira_client.balanced.backend import Backend
from sira_client.balanced.balancer import Balancer
from sira_client.balancing.target import Target
from sira_client.first_of import drop


class Clusters:
    """Balancers by target, those of one service over one backend.

    Args:
        main: where calls go without a policy; it is always wanted.
        follow: makes what follows a service, given its resource name.
        balance: makes the balancer of a target.
    """

    def __init__(
        self, main: Target, follow: Callable[[str], Backend], balance: Callable[[Target, Backend], Balancer]
    ) -> None:
        self._follow = follow
        self._balance = balance
        self._backends: dict[str, Backend] = {}
        self._balancers: dict[Target, Balancer] = {}
        self._calls: Counter[Target] = Counter()
        self._wanted: frozenset[Target] = frozenset()
        self._retiring: dict[asyncio.Task[None], Backend] = {}
        self.main = self._open(main)
        self.want_only(())

    def want(self, targets: Iterable[Target]) -> None:
        """Opens these, and keeps those that are open."""
        for target in targets:
            if target not in self._balancers:
                self._open(target)
        self._wanted |= frozenset(targets)

    def want_only(self, targets: Iterable[Target]) -> None:
        """Lets go of all but these, as soon as the calls that look for an endpoint there have found one."""
        self._wanted = frozenset({*targets, self.main.target})
        for target in list(self._balancers):
            self._sweep(target)

    def balancers(self, targets: Iterable[Target]) -> list[Balancer]:
        """The balancers of targets that are wanted."""
        return [self._balancers[target] for target in targets]

    def missing(self, target: Target) -> bool:
        """Whether the service of a target that is wanted is not there."""
        return self._backends[target.service].missing

    def take(self, target: Target) -> Balancer:
        """The balancer of a target that is wanted, which stays open until it is given back."""
        self._calls[target] += 1
        return self._balancers[target]

    def give(self, target: Target) -> None:
        """Gives back what was taken."""
        self._calls[target] -= 1
        if not self._calls[target]:
            del self._calls[target]
            self._sweep(target)

    async def close(self) -> None:
        """Closes all; calls that are under way are cancelled."""
        balancers, backends = list(self._balancers.values()), [*self._backends.values(), *self._retiring.values()]
        self._balancers.clear()
        self._backends.clear()
        for balancer in balancers:
            balancer.close()
        await drop(*self._retiring)
        await asyncio.gather(*(backend.close() for backend in backends))

    def _open(self, target: Target) -> Balancer:
        backend = self._backends.get(target.service)
        if backend is None:
            backend = self._backends[target.service] = self._follow(target.service)
        made = self._balancers[target] = self._balance(target, backend)
        return made

    def _sweep(self, target: Target) -> None:
        if target in self._wanted or self._calls[target] or target not in self._balancers:
            return
        self._balancers.pop(target).close()
        backend = self._backends[target.service]
        if backend.idle:
            del self._backends[target.service]
            task = asyncio.get_running_loop().create_task(backend.retire())
            self._retiring[task] = backend
            task.add_done_callback(self._retiring.pop)
