"""One stream of secrets: what a client has asked for, has been sent and has rejected. Knows nothing of gRPC.

Source: Envoy's xDS protocol, "Four Variants", "ACK/NACK and resource type instance version".
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from typing import Any

from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryResponse, DiscoveryResponse, Resource
from google.protobuf.any_pb2 import Any as AnyMessage

from sira_grpc.errors import FieldViolation, InvalidField, PermissionDenied

_log = logging.getLogger(__name__)

TYPE_URL = f"type.googleapis.com/{Secret.DESCRIPTOR.full_name}"
WILDCARD = "*"
MAX_NAMES = 100
"""Secrets that one stream may ask for."""

Offer = Mapping[str, bytes | None]
"""All secrets that a client may have, serialized, by their names; None for what cannot be had right now."""


class SecretStream(ABC):
    """What both variants of the protocol have in common.

    Args:
        defaults: names of what a client gets that names nothing.
    """

    def __init__(self, defaults: Sequence[str]) -> None:
        self._defaults = tuple(defaults)
        self._nonce = 0

    @abstractmethod
    def receive(self, request: Any, offer: Offer) -> None:
        """Takes a request.

        Raises:
            InvalidField: a field breaks a rule.
            PermissionDenied: it asks for what it may not have.
        """

    @abstractmethod
    def response(self, offer: Offer) -> bytes | None:
        """Returns what to send now, serialized; None if there is nothing new."""

    def _next_nonce(self) -> str:
        self._nonce += 1
        return str(self._nonce)

    def _fresh(self, request: Any) -> bool:
        """Whether a request answers the latest response, or none. A rejection is logged: once, as it has a nonce."""
        _check_type(request.type_url)
        if request.response_nonce not in ("", str(self._nonce)):
            return False
        if request.HasField("error_detail"):
            _log.warning("an Envoy rejects its secrets: %s", request.error_detail.message[:1000])
        return True


class StateStream(SecretStream):
    """State of the world: each response has all that was asked for."""

    def __init__(self, defaults: Sequence[str]) -> None:
        super().__init__(defaults)
        self._names: tuple[str, ...] | None = None
        self._sent: str | None = None

    def receive(self, request: Any, offer: Offer) -> None:
        """See SecretStream."""
        if not self._fresh(request):
            return
        names = tuple(sorted(set(request.resource_names) - {WILDCARD})) or self._defaults
        _check_names("resource_names", names, offer)
        if names != self._names:
            self._names, self._sent = names, None

    def response(self, offer: Offer) -> bytes | None:
        """See SecretStream."""
        found = {name: body for name in self._names or () if (body := offer.get(name))}
        version = _version(found.values())
        if not found or version == self._sent:
            return None
        self._sent = version
        message = DiscoveryResponse(
            version_info=version,
            type_url=TYPE_URL,
            nonce=self._next_nonce(),
            resources=[AnyMessage(type_url=TYPE_URL, value=body) for body in found.values()],
        )
        return bytes(message.SerializeToString(deterministic=True))


class DeltaStream(SecretStream):
    """Incremental: each response has what is new, or has changed."""

    def __init__(self, defaults: Sequence[str]) -> None:
        super().__init__(defaults)
        self._sent: dict[str, str] = {}
        """The version that was sent of each name; empty for what is still to be sent."""
        self._began = False

    def receive(self, request: Any, offer: Offer) -> None:
        """See SecretStream. What is subscribed to counts also where a nonce is stale."""
        self._fresh(request)
        wanted = list(request.resource_names_subscribe)
        if WILDCARD in wanted or (not wanted and not self._began):
            wanted = [name for name in wanted if name != WILDCARD] + list(self._defaults)
        _check_names("resource_names_subscribe", {*self._sent, *wanted}, offer)
        if not self._began:
            self._began = True
            self._sent.update({name: request.initial_resource_versions.get(name, "") for name in wanted})
        else:
            self._sent.update(dict.fromkeys(wanted, ""))  # who asks again has lost it
        for name in request.resource_names_unsubscribe:
            for each in self._defaults if name == WILDCARD else (name,):
                self._sent.pop(each, None)

    def response(self, offer: Offer) -> bytes | None:
        """See SecretStream."""
        changed = []
        for name, sent in self._sent.items():
            body = offer.get(name)
            if body and (version := _version([body])) != sent:
                changed.append(Resource(name=name, version=version, resource=AnyMessage(type_url=TYPE_URL, value=body)))
        if not changed:
            return None
        self._sent.update({resource.name: resource.version for resource in changed})
        message = DeltaDiscoveryResponse(
            type_url=TYPE_URL,
            nonce=self._next_nonce(),
            resources=changed,
            system_version_info=_version(resource.version.encode() for resource in changed),
        )
        return bytes(message.SerializeToString(deterministic=True))


def _check_type(type_url: str) -> None:
    if type_url not in ("", TYPE_URL):
        raise InvalidField([FieldViolation("type_url", f"must be {TYPE_URL}")])


def _check_names(field: str, names: Iterable[str], offer: Offer) -> None:
    wanted = set(names)
    if len(wanted) > MAX_NAMES:
        raise InvalidField([FieldViolation(field, f"must be at most {MAX_NAMES}")])
    unknown = sorted(wanted - offer.keys())
    if unknown:
        known = ", ".join(sorted(offer))
        raise PermissionDenied(f"there is no secret {unknown[0][:256]!r} for this process; there are: {known}")


def _version(bodies: Iterable[bytes]) -> str:
    content = blake2b(digest_size=8)
    for body in bodies:
        content.update(len(body).to_bytes(8))
        content.update(body)
    return content.hexdigest()
