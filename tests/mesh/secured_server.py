"""A process that serves the echo method as an xDS-enabled gRPC server: with the certificates and rules that it is sent.

It answers with its id, and with a header that tells who has called: the SPIFFE ID, and the certificate's serial number.
"""

from __future__ import annotations

import json
import signal
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from cryptography import x509

PEER = "mesh-peer"
WORKERS = 8
CONNECTION_SECONDS = 3
"""How long a connection lasts: so that rotations are felt by who has one already."""


def _peer(context: grpc.ServicerContext) -> str:
    auth = context.auth_context()
    pem = next(iter(auth.get("x509_pem_cert", ())), b"")
    if not isinstance(pem, bytes) or not pem:
        return ""
    certificate = x509.load_pem_x509_certificate(pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    (identity,) = names.get_values_for_type(x509.UniformResourceIdentifier)
    return f"{identity} {certificate.serial_number:x}"


def serve(id_: str, address: str) -> grpc.Server:
    """Starts the server."""

    def answer(request: bytes, context: grpc.ServicerContext) -> bytes:
        context.send_initial_metadata(((PEER, _peer(context)),))
        return id_.encode()

    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        name: grpc.unary_unary_rpc_method_handler(answer) for name in ("Call", "Other")
    }
    options = [("grpc.so_reuseport", 0), ("grpc.max_connection_age_ms", CONNECTION_SECONDS * 1000)]
    server = grpc.server(ThreadPoolExecutor(WORKERS), xds=True, options=options)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("mesh.Echo", handlers),))
    server.add_secure_port(address, grpc.xds_server_credentials(grpc.insecure_server_credentials()))
    server.start()
    return server


def main() -> None:
    """Serves until SIGTERM, and says so in a line."""
    ended = threading.Event()
    signal.signal(signal.SIGTERM, lambda number, frame: ended.set())
    server = serve(sys.argv[1], sys.argv[2])
    print(json.dumps({"address": sys.argv[2]}), flush=True)
    ended.wait()
    server.stop(grace=0.5).wait()


if __name__ == "__main__":
    main()
