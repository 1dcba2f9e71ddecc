"""AuthorityService: the operator's side of identity."""

from __future__ import annotations

from sira.identity.v1 import authority_service_pb2 as pb
from sira.identity.v1 import authority_service_pb2_grpc as stubs

from sira_grpc.identity.identity import Identity
from sira_grpc.identity.join_tokens import DEFAULT_TTL
from sira_grpc.rpc.call import Context, actor
from sira_grpc.times import seconds


class AuthorityServicer(stubs.AuthorityServiceServicer):
    """Each method is one command or read of identity. See the proto."""

    def __init__(self, identity: Identity) -> None:
        self._identity = identity

    async def GetIdentityStatus(
        self, request: pb.GetIdentityStatusRequest, context: Context
    ) -> pb.GetIdentityStatusResponse:
        """See the proto."""
        return pb.GetIdentityStatusResponse(status=self._identity.status())

    async def CreateJoinToken(self, request: pb.CreateJoinTokenRequest, context: Context) -> pb.CreateJoinTokenResponse:
        """See the proto."""
        ttl = seconds(request.ttl) if request.HasField("ttl") else DEFAULT_TTL
        token, secret = await self._identity.tokens.create(request.join_token, ttl=ttl, actor=actor())
        return pb.CreateJoinTokenResponse(join_token=token, secret=str(secret))

    async def ListJoinTokens(self, request: pb.ListJoinTokensRequest, context: Context) -> pb.ListJoinTokensResponse:
        """See the proto."""
        page, token = await self._identity.tokens.page(size=request.page_size, token=request.page_token)
        return pb.ListJoinTokensResponse(join_tokens=page, next_page_token=token)

    async def DeleteJoinToken(self, request: pb.DeleteJoinTokenRequest, context: Context) -> pb.DeleteJoinTokenResponse:
        """See the proto."""
        await self._identity.tokens.delete(request.name)
        return pb.DeleteJoinTokenResponse()

    async def ListCertificates(
        self, request: pb.ListCertificatesRequest, context: Context
    ) -> pb.ListCertificatesResponse:
        """See the proto."""
        page, token = await self._identity.records.page(
            size=request.page_size,
            token=request.page_token,
            identity=request.identity,
            join_token=request.join_token,
            live_only=request.live_only,
        )
        return pb.ListCertificatesResponse(certificates=page, next_page_token=token)

    async def RevokeCertificates(
        self, request: pb.RevokeCertificatesRequest, context: Context
    ) -> pb.RevokeCertificatesResponse:
        """See the proto."""
        records = self._identity.records
        if request.WhichOneof("target") == "serial":
            revoked = await records.revoke_serial(request.serial, cause=request.cause, actor=actor())
        else:
            revoked = await records.revoke_identity(request.identity, cause=request.cause, actor=actor())
        return pb.RevokeCertificatesResponse(revoked=revoked)

    async def StartRotation(self, request: pb.StartRotationRequest, context: Context) -> pb.StartRotationResponse:
        """See the proto."""
        await self._identity.rotator.start()
        return pb.StartRotationResponse(rotation=self._identity.rotator.describe())

    async def AdvanceRotation(self, request: pb.AdvanceRotationRequest, context: Context) -> pb.AdvanceRotationResponse:
        """See the proto."""
        await self._identity.rotator.advance(request.stage)
        return pb.AdvanceRotationResponse(rotation=self._identity.rotator.describe())

    async def CancelRotation(self, request: pb.CancelRotationRequest, context: Context) -> pb.CancelRotationResponse:
        """See the proto."""
        await self._identity.rotator.cancel()
        return pb.CancelRotationResponse(rotation=self._identity.rotator.describe())

    async def SetFederatedBundle(
        self, request: pb.SetFederatedBundleRequest, context: Context
    ) -> pb.SetFederatedBundleResponse:
        """See the proto."""
        bundle = await self._identity.federation.set(request.trust_domain, request.document, request.federated_bundle)
        return pb.SetFederatedBundleResponse(federated_bundle=bundle)

    async def ListFederatedBundles(
        self, request: pb.ListFederatedBundlesRequest, context: Context
    ) -> pb.ListFederatedBundlesResponse:
        """See the proto."""
        page, token = await self._identity.federation.page(size=request.page_size, token=request.page_token)
        return pb.ListFederatedBundlesResponse(federated_bundles=page, next_page_token=token)

    async def DeleteFederatedBundle(
        self, request: pb.DeleteFederatedBundleRequest, context: Context
    ) -> pb.DeleteFederatedBundleResponse:
        """See the proto."""
        await self._identity.federation.delete(request.name)
        return pb.DeleteFederatedBundleResponse()
