"""The kinds of clients that a bootstrap can be made for, and what each needs in its environment."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

PATH_VARIABLE = "GRPC_XDS_BOOTSTRAP"
"""Where a client of gRPC finds its bootstrap; it goes before GRPC_XDS_BOOTSTRAP_CONFIG, which holds one itself."""
_DATA_ERRORS = "GRPC_EXPERIMENTAL_XDS_DATA_ERROR_HANDLING"


class BootstrapKind(StrEnum):
    """What `--kind` takes."""

    C_CORE = "c-core"
    GO = "go"
    JAVA = "java"
    NODE = "node"


ENVIRONMENT: Mapping[BootstrapKind, Mapping[str, str]] = {
    # gRFC A88: a missing resource is told at once, instead of after 15 s, and a deleted one does not stop traffic.
    BootstrapKind.C_CORE: {_DATA_ERRORS: "true"},
    BootstrapKind.GO: {},
    BootstrapKind.JAVA: {_DATA_ERRORS: "true"},
    # Off by default in grpc-js-xds 1.14: access rules of its servers, and balancing by ORCA.
    BootstrapKind.NODE: {"GRPC_XDS_EXPERIMENTAL_RBAC": "true", "GRPC_EXPERIMENTAL_XDS_WRR_LB": "true"},
}
"""Variables besides the path, which must be set before the first channel is made.

As read in the sources of grpc 1.85 (C core, Go, Java) and @grpc/grpc-js-xds 1.14.
"""

PLAINTEXT_ONLY = frozenset({BootstrapKind.NODE})
"""Kinds whose connection to the control plane cannot be secured with the certificates of an identity.

Node's takes the credentials `insecure` and `google_default` only (@grpc/grpc-js-xds 1.14, xds-bootstrap.ts).
"""


def environment(kind: BootstrapKind, path: str) -> dict[str, str]:
    """Returns the variables that a client of a kind needs, with its bootstrap in the file at a path."""
    return {PATH_VARIABLE: path, **ENVIRONMENT[kind]}
