"""Rows about certificates and access rules: at a gRPC server and at an Envoy in front of one."""

from __future__ import annotations

import asyncio
from pathlib import Path

from cryptography import x509
from grpc import aio
from sira.identity.v1 import authority_service_pb2 as pb
from sira.registry.v1.access_policy_pb2 import AccessPolicy, AllowRule
from sira.registry.v1.fault_injection_pb2 import FaultAbort, FaultInjection
from sira.registry.v1.traffic_policy_pb2 import TlsMode, TrafficPolicy

from sira_grpc.svid import identity_directory
from tests.mesh.agent import identity_of
from tests.mesh.cell import PATIENCE, PAUSE, Cell
from tests.mesh.endpoint import SERVICE
from tests.mesh.imposter import Imposter
from tests.mesh.secured import MUTUAL
from tests.mesh.secured_server import PEER
from tests.mesh.trial import Row, Trial
from tests.mesh.world import CALLER, SECURED, STRANGER, service_name

SECTION = "Security"
OTHER = f"{SERVICE}Other"
ROTATION_SECONDS = 60
RECONNECT_SECONDS = 40
TRIES = 30
"""Connections to the imposter that are waited for: more than one of each client."""


async def mutual_tls(trial: Trial) -> None:
    """Both sides show certificates; a server with another identity is not taken, and a caller without any neither."""
    await trial.each(lambda cell: cell.open(SECURED))

    async def calls(cell: Cell) -> None:
        await cell.until(lambda tally: tally.only(*trial.secured.endpoints), 10)
        tally = await cell.until(lambda tally: bool(tally.headers), 10, header=PEER)
        assert all(header.startswith(f"{identity_of(CALLER)} ") for header in tally.headers), str(tally)

    await trial.each(calls)
    async with (
        Imposter(trial.world.identities / STRANGER) as imposter,
        trial.world.registered(SECURED, "imposter", imposter.port),
    ):
        await trial.each(lambda cell: _not_taken(cell, imposter))
    async with aio.insecure_channel(trial.secured.address) as plain:
        call: aio.UnaryUnaryMultiCallable[bytes, bytes] = plain.unary_unary(f"{SERVICE}Call")
        try:
            answer = await call(b"", timeout=2)
        except aio.AioRpcError:
            return
        raise AssertionError(f"a caller without a certificate was answered: {answer!r}")


async def _not_taken(cell: Cell, imposter: Imposter) -> None:
    async with asyncio.timeout(PATIENCE):
        while imposter.tried < TRIES:
            tally = await cell.call(10)
            assert not tally.failed, str(tally)
            await asyncio.sleep(PAUSE)
    assert not imposter.taken, f"{imposter.taken} of {imposter.tried} connections took the certificate of another"


async def allow(trial: Trial) -> None:
    """A rule allows who and what it names: this caller all calls, or one method."""
    await trial.each(lambda cell: cell.open(SECURED))
    await _set(trial, _allowing(CALLER))
    await trial.each(lambda cell: cell.until(lambda tally: tally.only(*trial.secured.endpoints), 10))
    await _set(trial, _allowing(CALLER, f"{SERVICE}Call"))

    async def one_method(cell: Cell) -> None:
        await cell.until(lambda tally: tally.fails_with("PERMISSION_DENIED"), 10, method=OTHER)
        tally = await cell.call(10)
        assert tally.only(*trial.secured.endpoints), str(tally)

    await trial.each(one_method)
    await _set(trial, None)
    await trial.each(lambda cell: cell.until(lambda tally: tally.only(*trial.secured.endpoints), 10, method=OTHER))


async def deny(trial: Trial) -> None:
    """What no rule allows is denied, at both; also where nobody is allowed."""
    await trial.each(lambda cell: cell.open(SECURED))
    await trial.each(lambda cell: cell.until(lambda tally: tally.only(*trial.secured.endpoints), 10))
    for policy in (_allowing(STRANGER), AccessPolicy()):
        await _set(trial, policy)
        await trial.each(lambda cell: cell.until(lambda tally: tally.fails_with("PERMISSION_DENIED"), 10))
        await _set(trial, None)
        await trial.each(lambda cell: cell.until(lambda tally: tally.only(*trial.secured.endpoints), 10))


async def leaf_rotation(trial: Trial) -> None:
    """Certificates of both sides are exchanged under load: no call fails, and new connections show the new ones."""
    await trial.each(lambda cell: cell.open(SECURED))
    await trial.each(lambda cell: cell.until(lambda tally: tally.only(*trial.secured.endpoints), 10))
    async with trial.load():
        fresh = f"{await _renewed(trial):x}"

        async def shows(cell: Cell) -> None:
            async with asyncio.timeout(PATIENCE):
                while True:
                    tally = await cell.aside(SECURED, 10, header=PEER)
                    assert not tally.failed, str(tally)
                    if any(header.endswith(f" {fresh}") for header in tally.headers):
                        return
                    await asyncio.sleep(5 * PAUSE)

        await trial.each(shows)
    await _goes_on(trial)


async def root_rotation(trial: Trial) -> None:
    """The root is exchanged under load: no call fails, on old connections and on new ones."""
    await trial.each(lambda cell: cell.open(SECURED))
    await trial.each(lambda cell: cell.until(lambda tally: tally.only(*trial.secured.endpoints), 10))
    authority = trial.world.client.authority
    before = await _root(trial)
    async with trial.load():
        await authority.StartRotation(pb.StartRotationRequest())
        rotating = asyncio.create_task(_rotated(trial))

        async def reconnects(cell: Cell) -> None:
            while not rotating.done():
                tally = await cell.aside(SECURED, 4)
                assert not tally.failed, str(tally)
                await asyncio.sleep(5 * PAUSE)
            await cell.aside(SECURED, 4)

        try:
            await trial.each(reconnects)
        finally:
            await rotating
    assert await _root(trial) != before, "the root is the old one"
    await _goes_on(trial)


async def _goes_on(trial: Trial) -> None:
    """Both sides still hear of changes: callers of faults, servers of who may call."""
    abort = FaultInjection(abort=FaultAbort(code=10, percent=100))
    changes = (
        ("ABORTED", {"traffic_policy": TrafficPolicy(tls=TlsMode.TLS_MODE_MUTUAL, fault=abort)}),
        ("PERMISSION_DENIED", {"traffic_policy": MUTUAL, "access_policy": _allowing(STRANGER)}),
    )
    for code, change in changes:
        await trial.change(**change)

        async def hears(cell: Cell, code: str = code) -> None:
            await cell.until(lambda tally: tally.fails_with(code), 10, seconds=RECONNECT_SECONDS)

        await trial.each(hears)
        await _set(trial, None)
        await trial.each(lambda cell: cell.until(lambda tally: tally.only(*trial.secured.endpoints), 10))


async def _rotated(trial: Trial) -> None:
    async with asyncio.timeout(ROTATION_SECONDS):
        while True:
            answer = await trial.world.client.authority.GetIdentityStatus(pb.GetIdentityStatusRequest())
            if not answer.status.HasField("rotation"):
                return
            await asyncio.sleep(5 * PAUSE)


async def _root(trial: Trial) -> bytes:
    files = await asyncio.to_thread(identity_directory.read, trial.world.identities / CALLER)
    return files.bundle


async def _renewed(trial: Trial) -> int:
    """Starts the agent again, which has new certificates issued. Returns the serial number of the callers'."""
    folders = [trial.world.identities / service for service in (SECURED, CALLER)]
    old = [await asyncio.to_thread(_serial, folder) for folder in folders]
    agent = trial.world.agent
    assert agent is not None
    await agent.stop()
    await agent.start()
    async with asyncio.timeout(PATIENCE):
        while True:  # it is the agent that writes them
            new = [await asyncio.to_thread(_serial, folder) for folder in folders]
            if not set(old) & set(new):
                return new[1]
            await asyncio.sleep(PAUSE)


def _serial(folder: Path) -> int:
    return x509.load_pem_x509_certificates(identity_directory.read(folder).svid)[0].serial_number


async def _set(trial: Trial, policy: AccessPolicy | None) -> None:
    """Sets who may call. The service goes on with mutual TLS, which has to be said along with it."""
    await trial.change(traffic_policy=MUTUAL, access_policy=policy)


def _allowing(service: str, *methods: str) -> AccessPolicy:
    return AccessPolicy(allow=[AllowRule(sources=[service_name(service)], methods=methods)])


ROWS = (
    Row("mtls", "mTLS, with the server's identity verified", SECTION, mutual_tls, secured=True),
    Row("rbac-allow", "Access rules: allow", SECTION, allow, secured=True),
    Row("rbac-deny", "Access rules: deny", SECTION, deny, secured=True),
    Row("leaf", "Rotation of certificates under load", SECTION, leaf_rotation, secured=True),
    Row("root", "Rotation of the root under load", SECTION, root_rotation, secured=True),
)
