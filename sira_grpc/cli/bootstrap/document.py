"""The bootstrap document of a gRPC client: where it takes its configuration from, and who it says it is.

Sources: gRFC A27 (the document), A29 (certificate providers), A36 (servers), A47 (authorities), A65 (TLS to the control
plane).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sira_grpc.cli.bootstrap.client_kind import PLAINTEXT_ONLY, WITHOUT_FILES, BootstrapKind
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

PROVIDER = "default"
"""Instance of a certificate provider that the resources of the control plane name."""
REFRESH = "10s"
"""How often files of an identity are looked at again; they are replaced hours before they expire."""


@dataclass(frozen=True, slots=True)
class NodeClaim:
    """What a client says of itself.

    Attributes:
        id: tells it from others; empty is not allowed.
        service: `{service}.{namespace}` that it runs for; empty means none.
        namespace: id of the namespace of short names.
        region, zone: where it runs; empty means unknown.
    """

    id: str
    service: str
    namespace: str
    region: str = ""
    zone: str = ""

    def message(self) -> dict[str, Any]:
        """Returns it as an `envoy.config.core.v3.Node` in JSON."""
        locality = {key: value for key, value in (("region", self.region), ("zone", self.zone)) if value}
        return {
            "id": self.id,
            "cluster": self.service,
            # Node.js wants one, if only an empty one.
            "locality": locality,
            "metadata": {"sira": {"namespace": self.namespace}},
        }


@dataclass(frozen=True, slots=True)
class KernelTrust:
    """How the connection to a kernel is secured, where it is.

    Attributes:
        identity: identity directory; None for none.
        ca_file, cert_file, key_file: PEM files instead of it; empty for none.
        plaintext: it is not, where there is nothing to secure it with.
    """

    identity: Path | None = None
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    plaintext: bool = False


def document(kind: BootstrapKind, servers: Sequence[str], node: NodeClaim, trust: KernelTrust) -> dict[str, Any]:
    """Returns the bootstrap of a gRPC client or server.

    Args:
        kind: what it is built on; not Envoy.
        servers: `host:port` or `unix:path` of the kernels, by preference.
        node: who it is.
        trust: how it connects, but for Unix sockets, which are plaintext.

    Raises:
        Failure: the kind cannot connect so.
    """
    made: dict[str, Any] = {
        "xds_servers": [
            {
                "server_uri": _uri(server),
                "channel_creds": [_credentials(kind, server, trust)],
                "server_features": ["xds_v3"],
            }
            for server in servers
        ],
        "node": node.message(),
        "authorities": {
            "sira": {"client_listener_resource_name_template": "xdstp://sira/envoy.config.listener.v3.Listener/%s"}
        },
        "client_default_listener_resource_name_template": "%s",
        # A server with xDS credentials but without this serves plaintext with nothing but a line in its log.
        "server_listener_resource_name_template": "grpc/server?xds.resource.listening_address=%s",
    }
    if trust.identity is not None:
        config = certificate_files(trust.identity)
        made["certificate_providers"] = {PROVIDER: {"plugin_name": "file_watcher", "config": config}}
    return made


def certificate_files(identity: Path) -> dict[str, str]:
    """Returns the configuration of a `file_watcher` that follows an identity directory."""
    from sira_grpc.svid import identity_directory

    folder = identity.absolute()  # its links are not followed: a rotation turns them over
    return {
        "certificate_file": str(folder / identity_directory.SVID),
        "private_key_file": str(folder / identity_directory.KEY),
        "ca_certificate_file": str(folder / identity_directory.BUNDLE),
        "refresh_interval": REFRESH,
    }


def _uri(server: str) -> str:
    """The form of an address that every kind knows."""
    return server.replace("unix:/", "unix:///", 1) if server.startswith("unix:/") else server


def _credentials(kind: BootstrapKind, server: str, trust: KernelTrust) -> dict[str, Any]:
    if server.startswith("unix:") or trust.plaintext:
        return {"type": "insecure"}
    config = _files(trust)
    if kind in PLAINTEXT_ONLY or (kind in WITHOUT_FILES and config):
        raise Failure(
            f"--kind {kind}: it takes no certificates for its connection to {server}; give it the Unix socket of a "
            "kernel on its host, --server unix:PATH, where authorization.anonymous is `read`, or run it with a sidecar",
            ExitCode.USAGE,
        )
    return {"type": "tls", "config": config}


def _files(trust: KernelTrust) -> dict[str, str]:
    if trust.identity is not None:
        return certificate_files(trust.identity)
    files = {
        "ca_certificate_file": trust.ca_file,
        "certificate_file": trust.cert_file,
        "private_key_file": trust.key_file,
    }
    config = {key: str(Path(path).absolute()) for key, path in files.items() if path}
    return {**config, "refresh_interval": REFRESH} if config else {}
