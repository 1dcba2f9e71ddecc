"""The versions of the clients that the matrix is run with."""

from __future__ import annotations

import importlib.metadata
import json
import re
import subprocess

from sira_grpc.xds.node import C_CORE, GO, JAVA, NODE_JS
from tests.integration.envoy import ENVOY
from tests.mesh.builds import SOURCES
from tests.mesh.columns import Column


def version(column: Column) -> str:
    """The version of the client of a column; empty if it cannot be told."""
    if column.kind == C_CORE:
        return importlib.metadata.version("grpcio")
    if column.kind == GO:
        return _found(r"google\.golang\.org/grpc v(\S+)", "go/go.mod")
    if column.kind == JAVA:
        return _found(r"<grpc\.version>(\S+)</grpc\.version>", "java/pom.xml")
    if column.kind == NODE_JS:
        packages = json.loads((SOURCES / "node" / "package.json").read_text())["dependencies"]
        return str(packages["@grpc/grpc-js-xds"])
    return _envoy()


def _found(pattern: str, path: str) -> str:
    found = re.search(pattern, (SOURCES / path).read_text())
    return found[1] if found else ""


def _envoy() -> str:
    if ENVOY is None:
        return ""
    told = subprocess.run([str(ENVOY), "--version"], capture_output=True, text=True, check=True).stdout
    found = re.search(r"/(\d+\.\d+\.\d+)[-/]", told)
    return found[1] if found else ""
