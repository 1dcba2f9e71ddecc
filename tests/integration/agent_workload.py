"""A program that asks the agent for its identities, as whoever the test wants. Run as a process of its own.

`agent_workload.py SOCKET [UID GID]` prints one line for each answer: the SPIFFE IDs and the serial numbers, or the
status that its stream ended with, after which it asks again. It ends with its stdin.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from typing import Any

import grpc
from cryptography import x509
from sira.identity.workload.v1.workload_pb2 import X509SvidRequest, X509SvidResponse

AGAIN_SECONDS = 0.1


def main() -> None:
    path = sys.argv[1]
    if len(sys.argv) > 2:
        uid, gid = int(sys.argv[2]), int(sys.argv[3])
        # After the imports, which only the user who installed them may be able to read.
        os.setgroups([])
        os.setresgid(gid, gid, gid)
        os.setresuid(uid, uid, uid)
    threading.Thread(target=ask, args=(path,), daemon=True).start()
    sys.stdin.read()


def ask(path: str) -> None:
    """Asks for ever."""
    channel: Any = grpc.insecure_channel(f"unix:{path}", (("grpc.max_reconnect_backoff_ms", 200),))
    fetch = channel.unary_stream(
        "/SpiffeWorkloadAPI/FetchX509SVID", X509SvidRequest.SerializeToString, X509SvidResponse.FromString
    )
    while True:
        try:
            for answer in fetch(X509SvidRequest(), metadata=(("workload.spiffe.io", "true"),)):
                held = {svid.spiffe_id: _serial(svid.x509_svid) for svid in answer.svids}
                tell({"svids": held, "roots": _count(answer.svids[0].bundle)})
        except grpc.RpcError as error:
            status: Any = error
            tell({"code": status.code().name, "details": status.details()})
        time.sleep(AGAIN_SECONDS)


def tell(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), flush=True)


def _serial(chain: bytes) -> str:
    length = int.from_bytes(chain[2:4]) + 4
    return format(x509.load_der_x509_certificate(chain[:length]).serial_number, "x")


def _count(certificates: bytes) -> int:
    found = 0
    while certificates:
        certificates = certificates[int.from_bytes(certificates[2:4]) + 4 :]
        found += 1
    return found


if __name__ == "__main__":
    main()
