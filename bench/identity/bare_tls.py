"""The floor over TLS, from static files: `python -m bench.identity.bare_tls FOLDER`; prints its two addresses.

The first asks for no client certificate, the second requires one. FOLDER is an identity directory.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

import grpc
import uvloop
from grpc import aio

from bench.bare import OPTIONS, Bare
from sira_grpc.svid import identity_directory


async def main(folder: Path) -> None:
    """Serves until SIGTERM."""
    files = identity_directory.read(folder)
    pair = [(files.key, files.svid)]
    server = aio.server(options=OPTIONS)
    server.add_generic_rpc_handlers((Bare().handler(),))
    plain = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pair))
    mutual = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials(pair, files.bundle, True))
    await server.start()
    print(f"127.0.0.1:{plain} 127.0.0.1:{mutual}", flush=True)
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    await stop.wait()
    await server.stop(None)


if __name__ == "__main__":
    uvloop.run(main(Path(sys.argv[1])))
