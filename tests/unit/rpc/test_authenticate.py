"""Who makes a call."""

from __future__ import annotations

import pytest

from sira_grpc.rpc.interceptors.authenticate import host_of, identity_of

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
