"""`sira status`: how the kernel is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sira_grpc.cli import cells, names
from sira_grpc.cli.commands import connected
from sira_grpc.cli.output import Column
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.kernel.v1.kernel_service_pb2 import KernelStatus


def _endpoints(status: KernelStatus) -> str:
    return f"{status.registry.endpoints}, {status.registry.healthy_endpoints} healthy"


def _leases(status: KernelStatus) -> str:
    return f"{status.registry.leases}, {status.registry.suspect_leases} suspect"


COLUMNS: Sequence[Column[KernelStatus]] = (
    ("VERSION", lambda status: status.version),
    ("MEMBER", lambda status: status.member),
    ("ADDRESSES", lambda status: " ".join(status.addresses)),
    ("UP FOR", lambda status: cells.age(status.start_time)),
    ("STORE", lambda status: f"{status.engine}, {'writable' if status.store_writable else '[red]not writable[/]'}"),
    ("REVISION", lambda status: str(status.revision)),
    ("NAMESPACES", lambda status: str(status.registry.namespaces)),
    ("SERVICES", lambda status: str(status.registry.services)),
    ("ENDPOINTS", _endpoints),
    ("LEASES", _leases),
    ("WATCHERS", lambda status: str(status.registry.watchers)),
    ("EXPIRY PAUSED", lambda status: " ".join(names.short(name) for name in status.registry.expiry_paused)),
)


@connected
def status(session: Session) -> None:
    """Show the version, age and sizes of the kernel that answers."""
    from sira.kernel.v1.kernel_service_pb2 import GetStatusRequest

    session.printer.one(session.call(session.kernel.GetStatus, GetStatusRequest()).status, COLUMNS)
