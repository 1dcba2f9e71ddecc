"""Garbage to every RPC of identity: taken or refused with a documented reason, and the kernel goes on serving."""

from __future__ import annotations

import pytest

from tests.integration.garbage_bench import Bench, try_garbage
from tests.integration.identity_cases import OTHER, WEB, accepted, prepare
from tests.integration.identity_kernel import DOMAIN, running
from tests.integration.registry_kernel import Running
from tests.integration.test_identity_bad_input import METHODS

SERVICES, NODE = f"spiffe://{DOMAIN}/ns/default/svc/*", f"spiffe://{DOMAIN}/node/n"


async def image(kernel: Running) -> object:
    """What identity holds, but for what the kernel does by itself."""
    identity = kernel.kernel.identity
    assert identity is not None
    view = identity.view
    assert view.domain is not None
    return (
        {token: len(entry.uses) for token, entry in view.tokens.items()},
        set(view.federated),
        set(view.revoked_serials),
        set(view.revoked_identities),
        list(view.domain.value.trusted),
        view.domain.value.issuing,
        identity.rotator.describe() is None,
    )


@pytest.mark.parametrize("rpc", METHODS)
def test_garbage(rpc: str) -> None:
    with Bench(running, prepare, image) as bench:
        world = bench.world
        known = [WEB, SERVICES, NODE, f"spiffe://{OTHER}/x", DOMAIN, OTHER, world.token, world.secret, "a.example.org"]
        try_garbage(bench, rpc, accepted(world)[METHODS[rpc].name], known, examples=100)
