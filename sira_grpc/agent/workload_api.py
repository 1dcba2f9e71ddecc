"""The SPIFFE Workload API: gives local processes the identities that they are entitled to, and whom to trust.

Source: the SPIFFE standard, "The SPIFFE Workload API", sections 5 and 6.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import ExitStack
from typing import Any

import grpc
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from sira.identity.workload.v1.workload_pb2 import (
    JwtBundlesRequest,
    JwtBundlesResponse,
    JwtSvid,
    JwtSvidRequest,
    JwtSvidResponse,
    ValidateJwtSvidRequest,
    ValidateJwtSvidResponse,
    X509BundlesRequest,
    X509BundlesResponse,
    X509Svid,
    X509SvidRequest,
    X509SvidResponse,
)
from sira_client.clock import Clock

from sira_grpc.agent.entries import Workload
from sira_grpc.agent.failures import Refused, Unready
from sira_grpc.agent.held_identity import HeldIdentity
from sira_grpc.agent.holdings import Holdings
from sira_grpc.agent.jwt_cache import JwtCache
from sira_grpc.agent.trust import Trust
from sira_grpc.errors import FieldViolation, InvalidField, PermissionDenied
from sira_grpc.rpc.call import Context
from sira_grpc.svid import jwt_svid
from sira_grpc.svid.spiffe_id import SCHEME, SpiffeId
from sira_grpc.svid.x509_svid import SvidError
from sira_grpc.watch import ChangeFeed, Subscriber

SERVICE = "SpiffeWorkloadAPI"
MAX_AUDIENCES = 16
MAX_AUDIENCE_CHARACTERS = 2048
CLOCK_LEEWAY = 60.0
"""Seconds by which the clock of whoever issued a JWT-SVID may be ahead."""

Entitled = Callable[[Context], Sequence[Workload]]
"""Returns the entries that match the process behind a call; at least one. Raises PermissionDenied."""


class WorkloadApi:
    """The servicer.

    Args:
        entitled: see Entitled.
        holdings: the identities, and what is trusted.
        tokens: has JWT-SVIDs issued.
        clock: time.
    """

    def __init__(self, entitled: Entitled, holdings: Holdings, tokens: JwtCache, clock: Clock) -> None:
        self._entitled = entitled
        self._holdings = holdings
        self._tokens = tokens
        self._clock = clock

    async def fetch_x509_svid(self, request: X509SvidRequest, context: Context) -> AsyncGenerator[bytes, None]:
        """Yields all identities of the caller, and again whenever one of them, a bundle or a revocation changes."""
        held = []
        with ExitStack() as stack:
            for identity, dns_names in identities_of(self._entitled(context)):
                lease = self._holdings.lease(identity, dns_names)
                stack.callback(lease.close)
                held.append(lease.held)
            await ready(held, self._holdings.streams)
            subscriber = self._subscribe(stack)
            async for message in self._states(subscriber, lambda: _x509_svids(held, self._holdings.trust)):
                yield message

    async def fetch_x509_bundles(self, request: X509BundlesRequest, context: Context) -> AsyncGenerator[bytes, None]:
        """Yields all X.509 bundles, and again whenever one changes."""
        self._entitled(context)
        with ExitStack() as stack:
            subscriber = self._subscribe(stack)
            async for message in self._states(subscriber, lambda: _x509_bundles(self._holdings.trust)):
                yield message

    async def fetch_jwt_bundles(self, request: JwtBundlesRequest, context: Context) -> AsyncGenerator[bytes, None]:
        """Yields all JWT bundles, and again whenever one changes."""
        self._entitled(context)
        with ExitStack() as stack:
            subscriber = self._subscribe(stack)
            async for message in self._states(subscriber, lambda: _jwt_bundles(self._holdings.trust)):
                yield message

    async def fetch_jwt_svid(self, request: JwtSvidRequest, context: Context) -> JwtSvidResponse:
        """Returns a JWT-SVID for each identity of the caller that the kernel grants, or for the one it asks for."""
        audiences = _audiences(request.audience)
        identities = list(dict.fromkeys(identity for identity, _ in identities_of(self._entitled(context))))
        if request.spiffe_id:
            identities = [_wanted(request.spiffe_id, identities)]
        svids, refusal = [], None
        for identity in identities:
            try:
                token = await self._tokens.token(identity, audiences, self._holdings.trust)
            except Refused as error:
                refusal = error
            else:
                svids.append(JwtSvid(spiffe_id=str(identity), svid=token))
        if not svids:
            raise PermissionDenied(f"the kernel does not vouch for it: {refusal}") from refusal
        return JwtSvidResponse(svids=svids)

    async def validate_jwt_svid(self, request: ValidateJwtSvidRequest, context: Context) -> ValidateJwtSvidResponse:
        """Returns what a JWT-SVID says, if it is valid and for an audience."""
        self._entitled(context)
        if not request.audience:
            raise _invalid("audience", "must not be empty")
        now = self._clock.time_ns() / 1e9
        keys = self._holdings.trust.jwt_keys
        if not any(keys.values()):
            raise Unready("the keys of JWT-SVIDs are not known yet")
        try:
            svid = jwt_svid.verify(request.svid, keys, audience=request.audience, now=now, leeway=CLOCK_LEEWAY)
            claims = Struct()
            claims.update(dict(svid.claims))
        except (SvidError, ValueError, TypeError) as error:
            raise _invalid("svid", f"is not valid: {error}") from error
        return ValidateJwtSvidResponse(spiffe_id=str(svid.identity), claims=claims)

    def _subscribe(self, stack: ExitStack) -> Subscriber:
        subscriber = self._holdings.streams.subscribe(0)
        stack.callback(subscriber.close)
        return subscriber

    async def _states(self, subscriber: Subscriber, state: Callable[[], Message | None]) -> AsyncGenerator[bytes, None]:
        """Yields a state, and again when it is another. Who reads slowly gets the latest. None is not sent."""
        feed, last = self._holdings.streams, b""
        while not feed.closed:
            revision = feed.revision
            message = state()
            data = message.SerializeToString(deterministic=True) if message is not None else last
            if data != last:
                yield data
                last = data
            subscriber.sent(revision)
            await subscriber.wait()
        raise Unready("the agent is stopping")


def identities_of(entries: Sequence[Workload]) -> list[tuple[SpiffeId, tuple[str, ...]]]:
    """Returns the identities of entries, with their DNS names, each once, in their order."""
    return list(dict.fromkeys((entry.identity, entry.dns_names) for entry in entries))


async def ready(held: Sequence[HeldIdentity], feed: ChangeFeed) -> None:
    """Returns once each identity has a certificate or was refused one.

    Raises:
        Unready: one cannot be had now. An answer without it might pass for one in which another is the default.
    """
    subscriber = feed.subscribe(feed.revision)
    try:
        while missing := [one for one in held if one.svid is None and not isinstance(one.trouble, Refused)]:
            troubles = [one.trouble for one in missing if one.trouble is not None]
            if troubles:
                raise troubles[0]
            if feed.closed:
                raise Unready("the agent is stopping")
            await subscriber.wait()
            subscriber.sent(feed.revision)
    finally:
        subscriber.close()


def _x509_svids(held: Sequence[HeldIdentity], trust: Trust) -> X509SvidResponse | None:
    """The answer; None while a certificate has expired and the next one is not there yet.

    Raises:
        PermissionDenied: the kernel gives none of them.
    """
    if all(one.svid is None and isinstance(one.trouble, Refused) for one in held):
        raise PermissionDenied(f"the kernel does not vouch for {held[0].identity}: {held[0].trouble}")
    svids = []
    for one in held:
        if one.svid is not None:
            svids.append(
                X509Svid(
                    spiffe_id=str(one.identity),
                    x509_svid=one.svid.chain_der,
                    x509_svid_key=one.svid.key,
                    bundle=trust.roots_der,
                )
            )
        elif not isinstance(one.trouble, Refused):
            return None
    return X509SvidResponse(svids=svids, crl=trust.crls, federated_bundles=trust.federated_der)


def _x509_bundles(trust: Trust) -> X509BundlesResponse:
    own: dict[str, bytes] = {SCHEME + trust.trust_domain: trust.roots_der}
    return X509BundlesResponse(crl=trust.crls, bundles={**own, **trust.federated_der})


def _jwt_bundles(trust: Trust) -> JwtBundlesResponse:
    """The answer.

    Raises:
        Unready: the kernel has not told the keys yet; they are not on disk.
    """
    if not trust.jwt_documents:
        raise Unready("the keys of JWT-SVIDs are not known yet")
    return JwtBundlesResponse(bundles=trust.jwt_documents)


def _audiences(given: Sequence[str]) -> list[str]:
    audiences = list(dict.fromkeys(given))
    if not 1 <= len(audiences) <= MAX_AUDIENCES:
        raise _invalid("audience", f"must be 1 to {MAX_AUDIENCES}")
    if not all(1 <= len(audience) <= MAX_AUDIENCE_CHARACTERS for audience in audiences):
        raise _invalid("audience", f"must have 1 to {MAX_AUDIENCE_CHARACTERS} characters each")
    return audiences


def _wanted(text: str, identities: Sequence[SpiffeId]) -> SpiffeId:
    try:
        identity = SpiffeId.parse(text)
    except ValueError as error:
        raise _invalid("spiffe_id", str(error)) from error
    if identity not in identities:
        raise PermissionDenied(f"the process is not entitled to {identity}")
    return identity


def _invalid(field: str, rule: str) -> InvalidField:
    return InvalidField([FieldViolation(field, rule)])


def handlers(api: WorkloadApi) -> dict[str, Any]:
    """Returns the methods of the service, by their names, as generated code would register them."""

    def one(method: Any, request: Any, response: Any) -> Any:
        return grpc.unary_unary_rpc_method_handler(method, request.FromString, response.SerializeToString)

    def many(method: Any, request: Any, response: Any) -> Any:
        return grpc.unary_stream_rpc_method_handler(method, request.FromString, response.SerializeToString)

    return {
        "FetchX509SVID": many(api.fetch_x509_svid, X509SvidRequest, X509SvidResponse),
        "FetchX509Bundles": many(api.fetch_x509_bundles, X509BundlesRequest, X509BundlesResponse),
        "FetchJWTSVID": one(api.fetch_jwt_svid, JwtSvidRequest, JwtSvidResponse),
        "FetchJWTBundles": many(api.fetch_jwt_bundles, JwtBundlesRequest, JwtBundlesResponse),
        "ValidateJWTSVID": one(api.validate_jwt_svid, ValidateJwtSvidRequest, ValidateJwtSvidResponse),
    }
