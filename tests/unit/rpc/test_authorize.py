"""What callers may do."""

from __future__ import annotations

import pytest

from sira_grpc.config import Access
from sira_grpc.errors import PermissionDenied, SiraError, Unauthenticated
from sira_grpc.rpc.interceptors import AnonymousRules, Authorize
from sira_grpc.rpc.interceptors.access import PEERS
from tests.unit.rpc.calls import made_call

READ = "sira.registry.v1.ResolverService"
WRITE = "sira.registry.v1.RegistryService"


@pytest.mark.parametrize(
    ("access", "service", "error"),
    [
        ("write", READ, None),
        ("write", WRITE, None),
        ("read", READ, None),
        ("read", "grpc.health.v1.Health", None),
        ("read", WRITE, PermissionDenied),
        ("read", "sira.new.v1.NewService", PermissionDenied),
        ("none", READ, Unauthenticated),
        ("none", WRITE, Unauthenticated),
    ],
)
def test_callers_without_identity(access: Access, service: str, error: type[SiraError] | None) -> None:
    call = made_call(service=service)
    authorize = Authorize(AnonymousRules(access))
    if error is None:
        authorize.enter(call)
        return
    with pytest.raises(error) as caught:
        authorize.enter(call)
    assert caught.value.metadata == {"method": f"{service}/Do"}


@pytest.mark.parametrize("access", ["none", "read", "write"])
@pytest.mark.parametrize("service", [READ, WRITE])
def test_callers_with_an_identity_may_do_everything(access: Access, service: str) -> None:
    call = made_call(service=service)
    call.identity = "spiffe://example/x"
    Authorize(AnonymousRules(access)).enter(call)


@pytest.mark.parametrize(("identity", "error"), [("", Unauthenticated), ("spiffe://example/x", PermissionDenied)])
def test_what_is_for_members_is_refused_to_all_others(identity: str, error: type[SiraError]) -> None:
    call = made_call(service=PEERS)
    call.identity = identity
    with pytest.raises(error, match="for members of the cluster"):
        Authorize(AnonymousRules("write")).enter(call)


@pytest.mark.parametrize("service", [PEERS, WRITE])
def test_a_forwarded_call_was_authorized_before(service: str) -> None:
    call = made_call(service=service)
    call.forwarded = "m1"
    Authorize(AnonymousRules("none")).enter(call)
