"""Short names of identities."""

from __future__ import annotations

import pytest

from sira_grpc.cli import spiffe_names
from sira_grpc.cli.contexts import Context
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Format, Printer
from sira_grpc.cli.session import Session
from sira_grpc.svid.spiffe_id import NODE, SpiffeId


class Known(Session):
    """A session with a kernel that has said what its trust domain is."""

    trust_domain = "a.test"


@pytest.fixture
def session() -> Session:
    return Known(Context(namespace="shop"), Printer(Format.TABLE), 1.0)


@pytest.mark.parametrize(
    ("text", "namespace", "full"),
    [
        ("checkout", None, "spiffe://a.test/ns/shop/svc/checkout"),
        ("checkout", "namespaces/pay", "spiffe://a.test/ns/pay/svc/checkout"),
        ("namespaces/x/services/y", None, "spiffe://a.test/ns/x/svc/y"),
        ("ns/x/svc/y", None, "spiffe://a.test/ns/x/svc/y"),
        ("node/web-1", None, "spiffe://a.test/node/web-1"),
        ("spiffe://b.test/x", None, "spiffe://b.test/x"),
    ],
)
def test_identities(session: Session, text: str, namespace: str | None, full: str) -> None:
    assert spiffe_names.identity(session, text, namespace, "NAME") == full


def test_patterns(session: Session) -> None:
    assert spiffe_names.patterns(session, ["*", "node/*", "ns/*/svc/*"], None, "--identity") == [
        "spiffe://a.test/ns/shop/svc/*",
        "spiffe://a.test/node/*",
        "spiffe://a.test/ns/*/svc/*",
    ]


@pytest.mark.parametrize("text", ["node/*", "a b", "node//x", "spiffe://A/x"])
def test_what_is_no_identity_is_refused(session: Session, text: str) -> None:
    with pytest.raises(Failure, match=r"^NAME: ") as refused:
        spiffe_names.identity(session, text, None, "NAME")
    assert refused.value.code is ExitCode.USAGE
    with pytest.raises(Failure, match=r"^--identity: "):
        spiffe_names.patterns(session, ["node/ x"], None, "--identity")


def test_this_host_is_a_node() -> None:
    assert SpiffeId.parse(f"spiffe://a.test/{spiffe_names.own_node()}").kind == NODE
