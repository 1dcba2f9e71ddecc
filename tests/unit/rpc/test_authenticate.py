"""Who makes a call."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any, TypeAlias, cast

import pytest

from sira_grpc.errors import CredentialInvalid
from sira_grpc.identity.callers import Caller
from sira_grpc.rpc.call import Call
from sira_grpc.rpc.interceptors.authenticate import AuthenticateSvids, bearer_of, host_of, identity_of
from sira_grpc.svid.spiffe_id import SpiffeId
from tests.unit.rpc.calls import made_call

Metadata: TypeAlias = tuple[tuple[str, str | bytes], ...]
SSL = {"transport_security_type": [b"ssl"]}


@pytest.mark.parametrize(
    ("context", "identity"),
    [
        ({}, ""),
        (SSL, ""),
        ({"peer_spiffe_id": [b"spiffe://example/a"]}, ""),
        ({"transport_security_type": [b"insecure"], "x509_common_name": [b"a"]}, ""),
        (
            {**SSL, "peer_spiffe_id": [b"spiffe://example/a"], "peer_dns": [b"b"], "x509_common_name": [b"c"]},
            "spiffe://example/a",
        ),
        ({**SSL, "peer_dns": [b"b.example", b"c.example"], "x509_common_name": [b"c"]}, "dns:b.example"),
        ({**SSL, "x509_common_name": [b"spiffe://example/a"]}, "cn:spiffe://example/a"),
        ({**SSL, "peer_spiffe_id": [], "x509_common_name": [b"\xff"]}, "cn:\ufffd"),
    ],
)
def test_the_identity_is_the_best_name_of_a_verified_certificate(
    context: dict[str, list[bytes]], identity: str
) -> None:
    assert identity_of(context) == identity


@pytest.mark.parametrize(
    ("peer", "host"),
    [
        ("ipv4:10.1.2.3:5000", "10.1.2.3"),
        ("ipv6:%5B::1%5D:5000", "::1"),
        ("ipv6:%5Bfe80::1%25eth0%5D:5000", "fe80::1%25eth0"),
        ("unix:", "unix"),
        ("unix:/run/sira", "unix"),
        ("", ""),
    ],
)
def test_the_host_is_the_peer_without_its_port(peer: str, host: str) -> None:
    assert host_of(peer) == host


@pytest.mark.parametrize(
    ("metadata", "token"),
    [
        ((), ""),
        ((("other", "Bearer x"),), ""),
        ((("authorization", "Bearer x.y.z"),), "x.y.z"),
        ((("authorization", "bearer  x "),), "x"),
        ((("other", "1"), ("authorization", "BEARER x")), "x"),
    ],
)
def test_the_token_is_the_one_bearer(metadata: Metadata, token: str) -> None:
    assert bearer_of(metadata) == token


@pytest.mark.parametrize(
    "metadata",
    [
        (("authorization", "x"),),
        (("authorization", ""),),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer "),),
        (("authorization", "Basic eDp5"),),
        (("authorization", b"Bearer x"),),
        (("authorization", "Bearer x"), ("authorization", "Bearer x")),
    ],
)
def test_what_is_meant_to_authorize_and_does_not_is_refused(metadata: Metadata) -> None:
    with pytest.raises(CredentialInvalid, match=r"authorization: must be one `Bearer` with a JWT-SVID"):
        bearer_of(metadata)


class Told:
    """Verifies whatever it is shown to be the same caller, and keeps what that was."""

    generation = 1

    def __init__(self) -> None:
        self.shown: list[tuple[bytes | str, ...]] = []

    def by_certificate(self, leaf: bytes, chain: bytes) -> Caller:
        self.shown.append((leaf, chain))
        return CALLER

    def by_connection(self, leaf: bytes, chain: bytes) -> Caller:
        return self.by_certificate(leaf, chain)

    def by_token(self, token: str) -> Caller:
        self.shown.append((token,))
        return CALLER

    def check(self, caller: Caller) -> None:
        """It counts."""


CALLER = Caller(SpiffeId("td.test", ("node", "n")), "spiffe://td.test/node/n", "1", 0, 1)
CERTIFICATE: dict[str, list[bytes]] = {"x509_pem_cert": [b"leaf"], "x509_pem_cert_chain": [b"leaf", b"above"]}
BEARER = (("authorization", "Bearer x"),)


@pytest.mark.parametrize(
    ("connection", "metadata", "shown"),
    [
        (CERTIFICATE, (), (b"leaf", b"leafabove")),
        ({"x509_pem_cert": [b"leaf"]}, (), (b"leaf", b"")),
        ({}, BEARER, ("x",)),
        (CERTIFICATE, BEARER, (b"leaf", b"leafabove")),  # the connection says more than the metadata
    ],
)
def test_a_caller_is_whom_what_it_shows_is_of(
    connection: dict[str, list[bytes]], metadata: Metadata, shown: tuple[bytes | str, ...]
) -> None:
    verifier, call = Told(), shown_call(connection, metadata)
    AuthenticateSvids(verifier).enter(call)
    assert verifier.shown == [shown]
    assert call.credential is CALLER
    assert call.identity == call.caller == "spiffe://td.test/node/n"


def test_who_shows_nothing_is_its_host() -> None:
    verifier, call = Told(), shown_call({}, ())
    AuthenticateSvids(verifier).enter(call)
    assert not verifier.shown
    assert (call.credential, call.identity, call.caller) == (None, "", "10.1.2.3")


def test_who_is_refused_is_its_host_for_the_limits() -> None:
    call = shown_call({}, (("authorization", "x"),))
    with pytest.raises(CredentialInvalid):
        AuthenticateSvids(Told()).enter(call)
    assert (call.credential, call.caller) == (None, "10.1.2.3")


def shown_call(connection: dict[str, list[bytes]], metadata: Metadata) -> Call:
    """A call of a connection with what was shown."""
    context = SimpleNamespace(
        peer=lambda: "ipv4:10.1.2.3:5000", auth_context=lambda: connection, invocation_metadata=lambda: metadata
    )
    call = made_call()
    call.context = cast(Any, context)
    return call
