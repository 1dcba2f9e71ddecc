"""What a request of a client has to have."""

from __future__ import annotations

import logging
from typing import Any

from sira_grpc.errors import FieldViolation, InvalidField
from sira_grpc.svid.spiffe_id import SpiffeId
from sira_grpc.xds.node import Node, read_node
from sira_grpc.xds.type_urls import ORDER

NODE_ID_LENGTH = 1024
MAX_LOGGED = 64
"""Unknown types that are logged, at most."""

_LOCATORS = ("resource_locators",)
_DELTA_LOCATORS = ("resource_locators_subscribe", "resource_locators_unsubscribe")
_TYPES = frozenset(ORDER)
_log = logging.getLogger(__name__)
_logged: set[str] = set()


def node_of(request: Any, identity: SpiffeId | None) -> Node:
    """Reads the node of the first request of a stream.

    Raises:
        InvalidField: there is none, or its id is too long.
    """
    if not request.HasField("node"):
        raise InvalidField([FieldViolation("node", "is required in the first request of a stream")])
    if len(request.node.id) > NODE_ID_LENGTH:
        raise InvalidField([FieldViolation("node.id", f"has at most {NODE_ID_LENGTH} characters")])
    return read_node(request.node, identity)


def type_of(request: Any, own: str | None, *, delta: bool) -> str:
    """Returns the type that a request is about; empty if it is one that is not served.

    Args:
        request: a DeltaDiscoveryRequest if it is `delta`, else a DiscoveryRequest.
        own: the only type that the stream is for; None if it is aggregated.
        delta: see request.

    Raises:
        InvalidField: there is none; it is not that of the stream; or resources are asked for in a way that is not
            supported.
    """
    type_url: str = request.type_url or own or ""
    if not type_url:
        raise InvalidField([FieldViolation("type_url", "is required on an aggregated stream")])
    if own is not None and type_url != own:
        raise InvalidField([FieldViolation("type_url", f"is {own} on this stream")])
    for field in _DELTA_LOCATORS if delta else _LOCATORS:
        if getattr(request, field):
            raise InvalidField([FieldViolation(field, "is not supported: ask for resources by name")])
    if type_url in _TYPES:
        return type_url
    if type_url not in _logged and len(_logged) < MAX_LOGGED:
        _logged.add(type_url)
        _log.warning("clients ask for resources of type %.200s, of which there are none", type_url)
    return ""
