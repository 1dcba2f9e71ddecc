"""Runs a kernel for a benchmark: `python -m bench.kernel DATA_DIR`. Prints its address and serves until SIGTERM."""

from __future__ import annotations

import sys

import uvloop

from sira_grpc.config import KernelConfig, ServerConfig, StoreConfig
from sira_grpc.kernel import Kernel


async def main() -> None:
    """Serves."""
    config = KernelConfig(server=ServerConfig(addresses=("127.0.0.1:0",)), store=StoreConfig(data_dir=sys.argv[1]))
    async with Kernel(config) as kernel:
        print(kernel.addresses[0], flush=True)
        await kernel.run_until_signal()


if __name__ == "__main__":
    uvloop.run(main())
