"""Sessions: the cookie that names the endpoint which serves a session, and the calls that come with it.

Sources: gRFC A55, https://github.com/grpc/proposal/blob/master/A55-xds-stateful-session-affinity.md, and A60,
https://github.com/grpc/proposal/blob/master/A60-xds-stateful-session-affinity-weighted-clusters.md
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from binascii import Error
from collections.abc import Iterable
from dataclasses import dataclass

from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.session_affinity_pb2 import SessionAffinity

from sira_client.durations import seconds

COOKIE = "cookie"
SET_COOKIE = "set-cookie"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a session is at home.

    Attributes:
        address: of the endpoint, `host:port`.
        cluster: name of the cluster; empty where that is not known.
    """

    address: str
    cluster: str = ""


def address_of(endpoint: Endpoint) -> str:
    """The address of an endpoint, as a cookie names it."""
    host = endpoint.addresses[0] if endpoint.addresses else ""
    return f"[{host}]:{endpoint.port}" if ":" in host else f"{host}:{endpoint.port}"


def applies(policy: SessionAffinity, method: str) -> bool:
    """Whether calls of a method belong to sessions: its path is below that of the cookie, as RFC 6265, 5.1.4 has it."""
    path = policy.path
    if not method.startswith(path):
        return False
    return not path or path.endswith("/") or len(method) == len(path) or method[len(path)] == "/"


def find(policy: SessionAffinity, metadata: Iterable[tuple[str, str | bytes]]) -> Place | None:
    """Where the session of a call is at home; None for a call without one, or with a cookie that is none of ours."""
    for key, value in metadata:
        if key != COOKIE or not isinstance(value, str):
            continue
        for pair in value.split(";"):
            name, _, text = pair.strip().partition("=")
            if name == policy.cookie:
                return _decode(text)
    return None


def set_cookie(policy: SessionAffinity, place: Place) -> str:
    """What makes a session be at home at a place."""
    value = b64encode(f"{place.address};{place.cluster}".encode()).decode()
    parts = [f"{policy.cookie}={value}", "HttpOnly"]
    if policy.path:
        parts.append(f"Path={policy.path}")
    age = int(seconds(policy.ttl))
    if age:
        parts.append(f"Max-Age={age}")
    return "; ".join(parts)


def _decode(text: str) -> Place | None:
    try:
        decoded = b64decode(text.strip('"'), validate=True).decode()
    except (Error, UnicodeDecodeError):
        return None
    addresses, _, cluster = decoded.partition(";")
    return Place(addresses.partition(",")[0], cluster)
