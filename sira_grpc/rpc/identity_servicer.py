"""IdentityService: callers get their identities, and the means to verify those of others."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing

from sira.identity.v1 import identity_service_pb2 as pb
from sira.identity.v1 import identity_service_pb2_grpc as stubs

from sira_grpc.errors import FieldViolation, InvalidField, SiraError
from sira_grpc.identity.identity import Identity
from sira_grpc.identity.issuer import JWT_TTL
from sira_grpc.identity.watchers import Watcher
from sira_grpc.rpc.call import Context, actor, current_call
from sira_grpc.times import seconds, timestamp


class IdentityServicer(stubs.IdentityServiceServicer):
    """Each method is one command or read of identity. See the proto."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def IssueCertificate(
        self, request: pb.IssueCertificateRequest, context: Context
    ) -> pb.IssueCertificateResponse:
        """See the proto."""
        issued = await self._identity.issuer.certificate(
            request.csr,
            join_token=request.join_token,
            ttl=seconds(request.ttl) if request.HasField("ttl") else None,
            supersedes=request.supersedes,
            caller=current_call().credential,
            actor=actor(),
        )
        return pb.IssueCertificateResponse(
            certificate=issued.record,
            chain=issued.chain,
            bundle=self._identity.trust.bundle(),
            renew_time=issued.renew_time,
        )

    async def IssueJwt(self, request: pb.IssueJwtRequest, context: Context) -> pb.IssueJwtResponse:
        """See the proto."""
        ttl = seconds(request.ttl) if request.HasField("ttl") else JWT_TTL
        token, identity, now = self._identity.issuer.jwt(
            request.identity, request.audiences, ttl=ttl, caller=current_call().credential
        )
        return pb.IssueJwtResponse(
            token=token,
            identity=str(identity),
            issue_time=timestamp(now * 10**9),
            expire_time=timestamp((now + round(ttl)) * 10**9),
        )

    async def GetTrustBundle(self, request: pb.GetTrustBundleRequest, context: Context) -> pb.GetTrustBundleResponse:
        """See the proto."""
        return pb.GetTrustBundleResponse(bundle=self._identity.trust.bundle(request.trust_domain))

    async def WatchTrustBundles(  # type: ignore[override]  # bytes pass through the serializer of this method
        self, request_iterator: AsyncIterator[pb.WatchTrustBundlesRequest], context: Context
    ) -> AsyncIterator[bytes]:
        """See the proto. The responses are serialized already, once for all who watch."""
        first = await anext(request_iterator, None)
        if first is None or not first.HasField("open"):
            raise InvalidField([FieldViolation("open", "must be in the first request")])
        watcher = self._identity.watchers.open(acknowledges=first.open.acknowledges)
        reading = asyncio.create_task(_read(request_iterator, watcher))
        try:
            async with aclosing(watcher.messages()) as messages:
                async for message in messages:
                    yield message
        finally:
            reading.cancel()
            await asyncio.gather(reading, return_exceptions=True)  # what it failed with has ended the messages
            watcher.close()


async def _read(requests: AsyncIterator[pb.WatchTrustBundlesRequest], watcher: Watcher) -> None:
    """Takes in acknowledgements until the client closes its side, which ends nothing else."""
    try:
        async for request in requests:
            if not request.HasField("ack"):
                raise InvalidField([FieldViolation("open", "must be in the first request only")])
            watcher.acknowledge(request.ack.revision)
    except SiraError as error:
        watcher.fail(error)
