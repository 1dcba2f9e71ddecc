"""`python -m demo`: plays the demo on stdout. Exit code 0 if all went as it should, 1 if not, 128 + n at signal n."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys

import grpc

from demo.show import play

SECONDS = 3.0
QUICK_SECONDS = 1.0
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    """Plays the demo and returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m demo", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="look only briefly at what comes of each scene")
    seconds = QUICK_SECONDS if parser.parse_args().quick else SECONDS
    return asyncio.run(_play_until_signal(seconds))


async def _play_until_signal(seconds: float) -> int:
    """Plays; a signal ends the demo early, with everything that it has started."""
    playing = asyncio.create_task(play(sys.stdout, seconds))
    caught: list[int] = []

    def stop(number: int) -> None:
        caught.append(number)
        playing.cancel()

    for number in SIGNALS:
        asyncio.get_running_loop().add_signal_handler(number, stop, number)
    try:
        return 0 if await playing else 1
    except asyncio.CancelledError:
        if not caught:
            raise
        return 128 + caught[0]
    except (ExceptionGroup, RuntimeError, grpc.aio.AioRpcError) as failure:
        for reason in failure.exceptions if isinstance(failure, ExceptionGroup) else [failure]:
            print(f"demo: {reason}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
