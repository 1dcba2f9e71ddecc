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
    ENVOY = "envoy"


ENVIRONMENT: Mapping[BootstrapKind, Mapping[str, str]] = {
    # gRFC A88: a missing resource is told at once, instead of after 15 s, and a deleted one does not stop traffic.
    BootstrapKind.C_CORE: {_DATA_ERRORS: "true"},
    BootstrapKind.GO: {},
    BootstrapKind.JAVA: {_DATA_ERRORS: "true"},
    # Off by default in grpc-js-xds 1.14: access rules of its servers, and balancing by ORCA.
    BootstrapKind.NODE: {"GRPC_XDS_EXPERIMENTAL_RBAC": "true", "GRPC_EXPERIMENTAL_XDS_WRR_LB": "true"},
    BootstrapKind.ENVOY: {},
}
"""Variables besides the path, which must be set before the first channel is made.

As read in the sources of grpc 1.85 (C core, Go, Java) and @grpc/grpc-js-xds 1.14.
"""

PLAINTEXT_ONLY = frozenset({BootstrapKind.NODE})
"""Kinds whose connection to the control plane is never secured but for Google's: they know no other credentials.

Source: xds-bootstrap.ts of @grpc/grpc-js-xds 1.14.
"""
WITHOUT_FILES = PLAINTEXT_ONLY | {BootstrapKind.JAVA}
"""Kinds that connect to the control plane with no authorities but the system's, and show no certificate.

Source: io.grpc.xds.internal.TlsXdsCredentialsProvider of grpc-java 1.85, which looks at no configuration.
"""


def environment(kind: BootstrapKind, path: str) -> dict[str, str]:
    """Returns the variables that a client of a kind needs, with its bootstrap in the file at a path.

    Envoy needs none: it is told the path as an argument, `-c`.
    """
    return {} if kind is BootstrapKind.ENVOY else {PATH_VARIABLE: path, **ENVIRONMENT[kind]}
