"""The signature of forwarded calls."""

from __future__ import annotations

import pytest
from sira.cluster.internal.v1.peer_service_pb2 import ForwardedCall

from sira_grpc.errors import CredentialInvalid
from sira_grpc.rpc.forwarding.signature import MAX_BYTES, Signer
from tests.clocks import FakeClock

METHOD = "sira.bus.v1.PublishService/Publish"
WEB = "spiffe://td.test/ns/default/svc/web"
SECRET = b"0123456789abcdef"


def signer(clock: FakeClock | None = None, secret: bytes = SECRET) -> Signer:
    return Signer(secret, "m1", clock or FakeClock())


@pytest.mark.parametrize(("identity", "caller"), [(WEB, WEB), ("", "10.0.0.1"), (WEB, "other"), ("", "")])
def test_what_was_signed_is_what_is_read(identity: str, caller: str) -> None:
    made = signer().verify(METHOD, signer().sign(METHOD, identity=identity, caller=caller))
    assert (made.member, made.identity, made.caller, made.method) == ("m1", identity, caller, METHOD)


def test_the_longest_identity_fits() -> None:
    header = signer().sign(METHOD, identity="spiffe://" + "x" * 2039, caller="y" * 2048)
    assert len(header) <= MAX_BYTES
    assert signer().verify(METHOD, header).caller == "y" * 2048


@pytest.mark.parametrize("late", [-61, 61])
def test_it_counts_for_a_minute(late: float) -> None:
    clock = FakeClock()
    header = signer(clock).sign(METHOD, identity="", caller="c")
    clock.advance(late / 61 * 60)
    assert signer(clock).verify(METHOD, header)
    clock.advance(late / 61)
    with pytest.raises(CredentialInvalid, match="clocks"):
        signer(clock).verify(METHOD, header)


def test_it_counts_for_its_method_alone() -> None:
    header = signer().sign(METHOD, identity="", caller="c")
    with pytest.raises(CredentialInvalid, match="is for"):
        signer().verify(METHOD + "Frames", header)


def test_every_bit_is_signed() -> None:
    header = signer().sign(METHOD, identity=WEB, caller="c")
    for index in range(len(header) * 8):
        forged = bytearray(header)
        forged[index // 8] ^= 1 << index % 8
        with pytest.raises(CredentialInvalid):
            signer().verify(METHOD, bytes(forged))


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"\xff",
        b"x" * (MAX_BYTES + 1),
        ForwardedCall(method=METHOD, time_ns=FakeClock().time_ns()).SerializeToString(),
    ],
)
def test_what_nobody_signed_does_not_count(header: bytes) -> None:
    with pytest.raises(CredentialInvalid):
        signer().verify(METHOD, header)


def test_another_secret_does_not_count() -> None:
    header = signer(secret=b"f" * 32).sign(METHOD, identity=WEB, caller=WEB)
    with pytest.raises(CredentialInvalid, match="not signed by a member"):
        signer().verify(METHOD, header)


def test_a_short_secret_is_refused() -> None:
    with pytest.raises(ValueError, match="16 bytes"):
        signer(secret=b"short")
