"""Runs a kernel in this process until a signal ends it: what `sira dev` and `sira up` share."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any

from sira_grpc.cli import logs, tls_version
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Format, Printer, say

if TYPE_CHECKING:
    from sira_grpc.config import KernelConfig
    from sira_grpc.kernel import Kernel


def serve(config: KernelConfig, printer: Printer, *, started: float) -> None:
    """Serves until SIGINT or SIGTERM, then drains.

    Args:
        config: the kernel's.
        printer: prints the ready line.
        started: when the command began, by time.monotonic().

    Raises:
        Failure: a part of the kernel failed while it served.
        SiraError: it could not start.
    """
    tls_version.enforce(config)  # before anything imports grpc
    import uvloop

    from sira_grpc.cli.process import fit_for_serving

    fit_for_serving()
    logs.configure(config.log)
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(config, printer, started))
    say("stopped")


async def _serve(config: KernelConfig, printer: Printer, started: float) -> None:
    from sira_grpc.cli.process import settle
    from sira_grpc.kernel import Kernel

    async with Kernel(config) as kernel:
        settle()
        signalled = asyncio.ensure_future(kernel.run_until_signal())
        await asyncio.sleep(0)  # it listens for signals from here on, so whoever reads the line may send one
        _tell(kernel, printer, time.monotonic() - started)
        if kernel.identity is not None and kernel.identity.founded:
            from sira_grpc.cli import first_start

            await first_start.tell(kernel, kernel.identity)
        await signalled
        say("draining")
        failed = kernel.failed
    if failed:
        raise Failure("a part of the kernel has failed; its log says which")


def _tell(kernel: Kernel, printer: Printer, seconds: float) -> None:
    """Prints the ready line, as soon as calls are served."""
    metrics, store = kernel.metrics_address, kernel.config.store
    if printer.format is not Format.TABLE:
        place = {"storeUrl": store.url} if store.url else {"dataDir": store.data_dir}
        ready = {"addresses": list(kernel.addresses), **place, "secondsToStart": round(seconds, 3)}
        printer.next_data({**ready, **({"metricsAddress": metrics} if metrics else {}), **_identity_facts(kernel)})
        return
    parts = [f"sira ready on {' '.join(kernel.addresses)} in {seconds:.2f} s", f"data in {store.url or store.data_dir}"]
    parts += [f"metrics on http://{metrics}/metrics"] if metrics else []
    if kernel.identity is not None:
        parts += [f"trust domain {kernel.identity.trust.trust_domain}"]
        parts += [f"tokens on {' '.join(kernel.token_addresses)}"] if kernel.token_addresses else []
        parts += [f"bundle on https://{kernel.bundle_address}"] if kernel.bundle_address else []
    print("; ".join(parts), flush=True)


def _identity_facts(kernel: Kernel) -> dict[str, Any]:
    identity = kernel.identity
    if identity is None:
        return {}
    return {
        "trustDomain": identity.trust.trust_domain,
        "rootSha256": identity.root_fingerprint,
        "tokenAddresses": list(kernel.token_addresses),
        **({"bundleAddress": kernel.bundle_address} if kernel.bundle_address else {}),
        "operatorDir": str(identity.operator.directory.absolute()),
    }
