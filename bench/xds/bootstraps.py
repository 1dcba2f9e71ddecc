"""The bootstraps of the gRPC clients that are measured: those that `sira bootstrap` writes."""

from __future__ import annotations

import json
from pathlib import Path

from bench.processes import Server
from sira_grpc.cli.bootstrap.client_kind import BootstrapKind, environment
from sira_grpc.cli.bootstrap.document import KernelTrust, NodeClaim, document


def write(kind: BootstrapKind, kernel: Server, folder: Path) -> dict[str, str]:
    """Writes one. Returns the environment that its client needs."""
    path = folder / f"{kind}.json"
    node = NodeClaim(f"bench-{kind}", "caller.default", "default")
    path.write_text(json.dumps(document(kind, [kernel.address], node, KernelTrust(plaintext=True))))
    return environment(kind, str(path))
