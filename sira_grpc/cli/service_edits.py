"""Changes of a service that depend on what it is: made to what was read, and to nothing newer."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from sira_grpc.cli.failures import Failure

if TYPE_CHECKING:
    from sira.registry.v1.service_pb2 import Service

    from sira_grpc.cli.session import Session

ATTEMPTS = 10
"""How often a change is made again to what somebody else has written in between."""


def read(session: Session, name: str) -> Service:
    """Returns a service.

    Raises:
        Failure: it is not there, or the kernel is not.
    """
    from sira.registry.v1.resolver_service_pb2 import GetServiceRequest

    return session.call(session.resolver.GetService, GetServiceRequest(name=name)).service


def edit(session: Session, name: str, paths: Sequence[str], change: Callable[[Service], bool]) -> Service:
    """Changes a service, however many others change it at the same time, and returns it as it is then.

    Args:
        session: the kernel.
        name: of the service.
        paths: of the fields that may change.
        change: changes the service in place, and says whether there was anything to change. May be called again.

    Raises:
        Failure: it is not there, it may not be so, or others kept changing it.
    """
    for _ in range(ATTEMPTS - 1):
        try:
            return _once(session, name, paths, change)
        except Failure as failure:
            if not str(failure).endswith("[ETAG_MISMATCH]"):
                raise
    return _once(session, name, paths, change)


def _once(session: Session, name: str, paths: Sequence[str], change: Callable[[Service], bool]) -> Service:
    from google.protobuf.field_mask_pb2 import FieldMask
    from sira.registry.v1.registry_service_pb2 import UpdateServiceRequest

    service = read(session, name)
    if not change(service):
        return service
    request = UpdateServiceRequest(service=service, update_mask=FieldMask(paths=paths))
    return session.call(session.registry.UpdateService, request).service
