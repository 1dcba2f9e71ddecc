"""Whose calls count as forwarded."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, cast

import pytest

from sira_grpc.errors import CredentialInvalid, CredentialRevoked
from sira_grpc.identity.callers import Caller
from sira_grpc.rpc.call import Call
from sira_grpc.rpc.forwarding import PeerIdentity
from sira_grpc.rpc.forwarding.signature import HEADER, Signer
from sira_grpc.rpc.interceptors import AcceptForwarded
from sira_grpc.rpc.interceptors.access import PEERS
from sira_grpc.svid.spiffe_id import SpiffeId
from tests.clocks import FakeClock
from tests.unit.rpc.calls import made_call

BUS, REGISTRY = "sira.bus.v1.PublishService", "sira.registry.v1.RegistryService"
METHODS = {f"{BUS}/Do"}
WEB = "spiffe://td.test/ns/default/svc/web"
SIGNER = Signer(b"s" * 32, "m1", FakeClock())


class Told:
    """Verifies every certificate to be of whom it was told, or refuses it."""

    generation = 1

    def __init__(self, identity: str, error: Exception | None = None) -> None:
        self._caller = Caller(SpiffeId.parse(identity), identity, "1", 0, 1)
        self._error = error

    def by_certificate(self, leaf: bytes, chain: bytes) -> Caller:
        if self._error is not None:
            raise self._error
        return self._caller

    def by_connection(self, leaf: bytes, chain: bytes) -> Caller:
        return self.by_certificate(leaf, chain)

    def by_token(self, token: str) -> Caller:
        raise AssertionError("a member shows its certificate")

    def check(self, caller: Caller) -> None:
        """It counts."""


def signed_call(service: str = BUS, *, headers: list[bytes] | None = None, certificate: bool = True) -> Call:
    """A call with these headers; by default, with one good one."""
    call = made_call(service=service)
    if headers is None:
        headers = [SIGNER.sign(f"{service}/Do", identity=WEB, caller=WEB)]
    call.context = cast(
        Any,
        SimpleNamespace(
            invocation_metadata=lambda: tuple((HEADER, header) for header in headers),
            auth_context=lambda: {"x509_pem_cert": [b"leaf"]} if certificate else {},
        ),
    )
    return call


def identity(name: str, error: Exception | None = None) -> PeerIdentity:
    return PeerIdentity("td.test", cast(Any, None), Told(name, error))


def test_a_signed_call_is_its_callers() -> None:
    call = signed_call()
    AcceptForwarded(SIGNER, METHODS, None).enter(call)
    assert (call.forwarded, call.identity, call.caller, call.credential) == ("m1", WEB, WEB, None)


def test_a_call_without_a_header_is_left_alone() -> None:
    call = signed_call(headers=[])
    AcceptForwarded(SIGNER, METHODS, None).enter(call)
    assert (call.forwarded, call.identity, call.caller) == ("", "", "")


@pytest.mark.parametrize(("service", "accepted"), [(BUS, True), (PEERS, True), (REGISTRY, False)])
def test_a_signature_counts_for_what_is_forwarded_alone(service: str, accepted: bool) -> None:
    call = signed_call(service)
    if accepted:
        AcceptForwarded(SIGNER, METHODS, None).enter(call)
        return
    with pytest.raises(CredentialInvalid, match="is not forwarded"):
        AcceptForwarded(SIGNER, METHODS, None).enter(call)


@pytest.mark.parametrize(
    ("name", "accepted"),
    [
        ("spiffe://td.test/member/host", True),
        ("spiffe://federated.test/member/host", False),
        ("spiffe://td.test/operator/o", False),
        (WEB, False),
    ],
)
def test_the_connection_must_be_a_members_of_this_trust_domain(name: str, accepted: bool) -> None:
    call = signed_call()
    if accepted:
        AcceptForwarded(SIGNER, METHODS, identity(name)).enter(call)
        assert call.forwarded == "m1"
        return
    with pytest.raises(CredentialInvalid, match="certificate of a member"):
        AcceptForwarded(SIGNER, METHODS, identity(name)).enter(call)
    assert (call.forwarded, call.identity) == ("", "")


def test_without_a_certificate_a_signature_does_not_count_with_identity() -> None:
    with pytest.raises(CredentialInvalid, match="certificate of a member"):
        AcceptForwarded(SIGNER, METHODS, identity(WEB)).enter(signed_call(certificate=False))


def test_a_member_that_was_revoked_is_refused() -> None:
    revoked = identity("spiffe://td.test/member/host", CredentialRevoked("revoked"))
    with pytest.raises(CredentialRevoked):
        AcceptForwarded(SIGNER, METHODS, revoked).enter(signed_call())


@pytest.mark.parametrize("headers", [[b"forged"], [b"", b""]])
def test_what_is_forged_or_there_twice_is_refused(headers: list[bytes]) -> None:
    call = signed_call(headers=headers)
    with pytest.raises(CredentialInvalid, match=HEADER):
        AcceptForwarded(SIGNER, METHODS, None).enter(call)
    assert (call.forwarded, call.identity) == ("", "")
