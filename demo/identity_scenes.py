"""The scenes about identity: a host joins, strangers are refused, and the root of all trust is exchanged."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable

import grpc
from sira.identity.v1.authority_service_pb2 import (
    CreateJoinTokenRequest,
    IdentityStatus,
    RevokeCertificatesRequest,
    StartRotationRequest,
)
from sira.identity.v1.authority_service_pb2 import GetIdentityStatusRequest as StatusRequest
from sira.identity.v1.identity_service_pb2 import GetTrustBundleRequest, IssueCertificateRequest
from sira.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sira.identity.v1.join_token_pb2 import JoinToken
from sira.identity.v1.rotation_pb2 import RotationStage
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.registry_service_pb2 import RegisterEndpointsRequest
from sira_client import IdentityFiles, connect

from demo.fleet import NODE, SERVICES, TRUST_DOMAIN
from demo.observer import SERVICE
from demo.stage import PATIENCE_SECONDS, Demo
from demo.tally import of
from sira_grpc.svid import signing_request
from sira_grpc.svid.spiffe_id import SpiffeId

STAGES = {
    RotationStage.ROTATION_STAGE_PUBLISHING: "both roots are trusted, the old one issues",
    RotationStage.ROTATION_STAGE_ISSUING: "both roots are trusted, the new one issues, and everybody renews",
    RotationStage.ROTATION_STAGE_RETIRING: "the old root is trusted no more",
}


async def join_host(demo: Demo) -> None:
    """The agent of this host joins with a token, which lets it have the identities of the services."""
    delegated = [f"spiffe://{TRUST_DOMAIN}/ns/default/svc/{service}" for service in SERVICES]
    token = JoinToken(identities=[f"spiffe://{TRUST_DOMAIN}/node/{NODE}"], delegated=delegated)
    created = await demo.client.authority.CreateJoinToken(CreateJoinTokenRequest(join_token=token))
    await demo.fleet.start_agent(created.secret)
    demo.screen.note(f"the agent of {NODE} joined with a one-time token, and keeps the services' certificates")


async def refuse(demo: Demo) -> None:
    """Whoever is not who they say is turned away."""
    demo.screen.scene("Strangers at the door: no certificate, a stolen token, somebody else's name")
    bundle = (demo.fleet.operator / "bundle.pem").read_bytes()
    trusting = grpc.ssl_channel_credentials(bundle)
    async with grpc.aio.secure_channel(demo.fleet.address, trusting) as channel:
        code = await _code(IdentityServiceStub(channel).GetTrustBundle(GetTrustBundleRequest(), timeout=5))
    demo.screen.check(code == "UNAVAILABLE", "without a certificate there is no connection")
    token = JoinToken(identities=[f"spiffe://{TRUST_DOMAIN}/ns/default/svc/guest"])
    created = await demo.client.authority.CreateJoinToken(CreateJoinTokenRequest(join_token=token))
    _, csr = signing_request.make(SpiffeId.parse(token.identities[0]))
    request = IssueCertificateRequest(csr=csr, join_token=created.secret)
    async with grpc.aio.secure_channel(demo.fleet.token_address, trusting) as channel:
        codes = [await _code(IdentityServiceStub(channel).IssueCertificate(request, timeout=5)) for _ in range(2)]
    demo.screen.check(codes == ["OK", "UNAUTHENTICATED"], "a one-time token that is used again is refused")
    # Nobody renews what it was used for, and so the next root would wait for it.
    revoked = await demo.client.authority.RevokeCertificates(RevokeCertificatesRequest(identity=token.identities[0]))
    demo.screen.check(revoked.revoked == 1, "what it was used for is revoked")
    endpoint = Endpoint(name=f"{SERVICE}/endpoints/impostor", addresses=["127.0.0.1"], port=1)
    async with connect(demo.fleet.address, identity=IdentityFiles(demo.fleet.identity("caller"))) as caller:
        code = await _code(caller.registry.RegisterEndpoints(RegisterEndpointsRequest(endpoints=[endpoint])))
    demo.screen.check(code == "PERMISSION_DENIED", "a caller cannot register as a greeter")


async def rotate_root(demo: Demo) -> None:
    """The root certificate, and with it that of everybody, is exchanged under load."""
    demo.screen.scene("Exchange the root certificate while all are connected")
    old = (await _status(demo)).authorities[0].id
    failed, began = demo.observer.tally.failed, time.monotonic()
    answered = of(demo.observer.tally.calls)
    await demo.client.authority.StartRotation(StartRotationRequest())
    ended = await _follow_rotation(demo)
    took = time.monotonic() - began
    status = await _status(demo)
    new = [authority.id for authority in status.authorities]
    demo.screen.check(ended and old not in new and len(new) == 1, f"the old root is gone after {took:.1f} s")
    calls = await demo.observer.during(demo.seconds)
    demo.screen.check(demo.steady(of(calls)), "calls go on at their rate")
    broken, since = demo.observer.tally.failed - failed, of(demo.observer.tally.calls) - answered
    demo.screen.check(not broken, f"{broken} of {since + broken} calls failed meanwhile")


async def _follow_rotation(demo: Demo) -> bool:
    """Tells each stage as it comes; False if the last one does not end in time."""
    told: set[int] = set()
    patience = time.monotonic() + 2 * PATIENCE_SECONDS
    while time.monotonic() < patience:
        status = await _status(demo)
        if not status.HasField("rotation"):
            return True
        stage = status.rotation.stage
        if stage not in told:
            told.add(stage)
            demo.screen.note(STAGES[stage])
        await asyncio.sleep(0.1)
    return False


async def _status(demo: Demo) -> IdentityStatus:
    return (await demo.client.authority.GetIdentityStatus(StatusRequest())).status


async def _code(call: Awaitable[object]) -> str:
    """How a call ends."""
    try:
        await call
    except grpc.aio.AioRpcError as error:
        return error.code().name
    return "OK"
