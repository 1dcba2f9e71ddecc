"""Short names of identities, as people type them, to SPIFFE IDs and patterns of them.

`checkout` is the service of that name in the session's namespace, `node/web-1` a path in the kernel's trust domain.
"""

from __future__ import annotations

import re
import socket
from typing import TYPE_CHECKING

from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sira_grpc.cli.session import Session

SCHEME = "spiffe://"
_SERVICE = re.compile(r"namespaces/([^/]+)/services/([^/]+)")


def identity(session: Session, text: str, namespace: str | None, name: str) -> str:
    """Returns the SPIFFE ID that a text is short for.

    Args:
        session: knows the trust domain, which is asked for only if it is needed.
        text: as typed.
        namespace: of plain names; None for the session's.
        name: of the option or argument, for the error.

    Raises:
        Failure: it is none.
    """
    from sira_grpc.svid.spiffe_id import SpiffeId

    try:
        return str(SpiffeId.parse(_full(session, text, namespace)))
    except ValueError as error:
        raise Failure(f"{name}: {error}", ExitCode.USAGE) from error


def patterns(session: Session, texts: Sequence[str], namespace: str | None, name: str) -> list[str]:
    """Returns the patterns that texts are short for: a segment may be `*`. As identity."""
    from sira_grpc.svid.spiffe_id import check_pattern

    try:
        return [check_pattern(_full(session, text, namespace)) for text in texts]
    except ValueError as error:
        raise Failure(f"{name}: {error}", ExitCode.USAGE) from error


def path(text: str, namespace: str) -> str:
    """Returns the path within a trust domain that a text is short for; a text that is in full stays as it is."""
    if text.startswith(SCHEME):
        return text
    service = _SERVICE.fullmatch(text)
    if service:
        return f"ns/{service[1]}/svc/{service[2]}"
    return text if "/" in text else f"ns/{namespace}/svc/{text}"


def own_node() -> str:
    """The path of the node that this host is: `node/` and its name, with what a SPIFFE ID cannot hold as dashes."""
    return f"node/{re.sub(r'[^A-Za-z0-9._-]', '-', socket.gethostname())}"


def _full(session: Session, text: str, namespace: str | None) -> str:
    full = path(text, session.namespace(namespace))
    return full if full.startswith(SCHEME) else f"{SCHEME}{session.trust_domain}/{full}"
