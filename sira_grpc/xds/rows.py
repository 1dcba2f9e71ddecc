"""Rows: the endpoints of a service, with all that assignments are made of worked out once for each."""

from __future__ import annotations

import logging
import socket
from collections.abc import Iterable, Iterator
from functools import lru_cache
from weakref import WeakKeyDictionary

from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthState
from sira_client.balancing.candidates import DEFAULT_WEIGHT
from sira_client.balancing.slow_start import serving_since_ns

from sira_grpc.errors import RevisionCompacted
from sira_grpc.registry.entries import SERVICE_ITEM, ServiceEntry
from sira_grpc.registry.view import RegistryView
from sira_grpc.xds import wire

log = logging.getLogger(__name__)

LOCALHOST = "127.0.0.1"
# Of `envoy.config.core.v3.HealthStatus`.
HEALTHY = 1
UNHEALTHY = 2
DRAINING = 3

_PROBES = frozenset({"grpc", "http", "tcp"})
_SERVING = HealthState.HEALTH_STATE_SERVING
_DRAINING = HealthState.HEALTH_STATE_DRAINING


class Row:
    """An endpoint.

    Attributes:
        message: the endpoint, with the status it had.
        where: its IP address, in one form for all that mean the same, and its port; None if it has only host names.
        place: region and zone.
        weight: its own.
        vouched: takes calls, by more than its own word.
        unvouched: takes calls, for all that is known, if nothing better is there.
        draining: finishes the calls that it has.
        since: Unix nanoseconds at which its slow start began; 0 where that is not known: long ago.
        core: an LbEndpoint, serialized, but for health and weight.
        healthy: the element of `lb_endpoints` with the endpoint as healthy, without a weight of its own.
    """

    __slots__ = (
        "age",
        "core",
        "draining",
        "healthy",
        "message",
        "place",
        "since",
        "unvouched",
        "vouched",
        "weight",
        "where",
    )

    def __init__(self, message: Endpoint) -> None:
        status = message.status
        serving = status.state == _SERVING
        suspect = status.suspect and message.health_check.WhichOneof("kind") not in _PROBES
        address = usable_address(message.addresses)
        self.message = message
        self.where = (address, message.port) if address else None
        self.age = (message.create_time.seconds, message.create_time.nanos, message.name)
        self.place = (message.locality.region, message.locality.zone)
        self.weight = message.weight or DEFAULT_WEIGHT
        self.vouched = serving and not suspect
        self.unvouched = serving and suspect
        self.draining = status.state == _DRAINING
        self.since = serving_since_ns(message)
        self.core = _core(address, message.port) if address else b""
        self.healthy = self.element(HEALTHY)

    def element(self, health: int, weight: int = 0) -> bytes:
        """Returns the endpoint as an element of `lb_endpoints`, with a weight of its own unless that is 0."""
        return wire.field(2, self.core + wire.number_field(2, health) + (_weight(weight) if weight else b""))


def usable_address(addresses: Iterable[str]) -> str:
    """Returns the first address that is no host name, as clients of xDS resolve none; empty if there is none."""
    for address in addresses:
        found = LOCALHOST if address == "localhost" else _ip(address)
        if found:
            return found
    return ""


def _ip(address: str) -> str:
    """Returns an IP address in one form for all that mean the same; empty if it is none."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            return socket.inet_ntop(family, socket.inet_pton(family, address))
        except OSError:
            continue
    return ""


def _core(address: str, port: int) -> bytes:
    """Returns LbEndpoint.endpoint.address.socket_address.{address, port_value}."""
    where = wire.field(2, address.encode()) + wire.number_field(3, port)
    return wire.field(1, wire.field(1, wire.field(1, where)))


@lru_cache(maxsize=1 << 12)
def _weight(weight: int) -> bytes:
    return wire.field(4, wire.number_field(1, weight))


class Rows:
    """The rows of one service, kept in line with it: what has not changed is not worked out again."""

    def __init__(self, service: ServiceEntry) -> None:
        self.service = service
        self._generation = -1
        self._position = -1
        self._rows: dict[str, Row] = {}
        self._names: list[str] = []  # in order
        self._at: dict[tuple[str, int], set[str]] = {}
        self._shadowed: set[str] = set()  # names of those that earlier processes left behind at an address
        self._present: list[Row] = []
        self._told = False

    def present(self, revision: int) -> list[Row]:
        """Returns the endpoints that clients can be sent, by name: of several at one address, the newest.

        Args:
            revision: everything up to it is in the service.
        """
        if self._generation != self.service.generation or self._position < 0:
            self._follow()
            self._generation, self._position = self.service.generation, revision
            rows, hidden = self._rows, self._shadowed
            self._present = [rows[name] for name in self._names if name not in hidden]
        return self._present

    def _follow(self) -> None:
        try:
            changed = set(self.service.feed.since(self._position)) if self._position >= 0 else None
        except RevisionCompacted:
            changed = None
        if changed is None:
            for held in (self._rows, self._names, self._at, self._shadowed):
                held.clear()
            changed = set(self.service.endpoints)
        changed.discard(SERVICE_ITEM)
        touched = {where for name in sorted(changed) for where in self._replace(name)}
        self._names = sorted(self._rows)
        for where in touched:
            self._shade(where)

    def _replace(self, name: str) -> Iterator[tuple[str, int]]:
        """Takes in what has become of an endpoint; yields where it was, and where it is."""
        gone = self._rows.pop(name, None)
        if gone is not None and gone.where is not None:
            self._at[gone.where].discard(name)
            yield gone.where
        self._shadowed.discard(name)
        entry = self.service.endpoints.get(name)
        if entry is None:
            return
        row = Row(entry.message)
        if row.where is not None:
            self._rows[name] = row
            self._at.setdefault(row.where, set()).add(name)
            yield row.where
        elif not self._told:
            self._told = True
            log.warning("%s: has no IP address: clients of xDS are not sent it, nor others like it", name)

    def _shade(self, where: tuple[str, int]) -> None:
        names = self._at[where]
        self._shadowed -= names
        if len(names) > 1:
            self._shadowed |= names - {max(names, key=lambda name: self._rows[name].age)}
        elif not names:
            del self._at[where]


_KNOWN: WeakKeyDictionary[RegistryView, dict[str, Rows]] = WeakKeyDictionary()


def rows_of(view: RegistryView, service: ServiceEntry) -> list[Row]:
    """Returns the endpoints of a service that clients can be sent, by name."""
    known = _KNOWN.get(view)
    if known is None:
        known = _KNOWN[view] = {}
    name = service.message.name
    rows = known.get(name)
    if rows is None or rows.service is not service:
        rows = known[name] = Rows(service)
        if len(known) > len(view.services):
            for gone in [each for each in known if each not in view.services]:
                del known[gone]
    return rows.present(view.revision)
