from __future__ import annotations

import pytest

from sira_grpc.xds import subjects
from sira_grpc.xds.names import Target, xdstp
from sira_grpc.xds.subjects import KEPT_LENGTH, Scope, subject
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from tests.unit.xds.mesh import WEB

SERVER = "grpc/server?xds.resource.listening_address=[::]:80"


@pytest.mark.parametrize(
    ("type_url", "name", "envoy", "scope", "target"),
    [
        (LISTENER, "web.default", False, Scope.TARGET, Target(WEB)),
        (LISTENER, "web", False, Scope.TARGET, Target(WEB)),
        (ROUTES, "web", True, Scope.TARGET, Target(WEB)),
        (LISTENER, "egress", True, Scope.MESH, None),
        (ROUTES, "egress", True, Scope.MESH, None),
        (LISTENER, "egress", False, Scope.TARGET, Target("namespaces/default/services/egress")),
        (LISTENER, SERVER, False, Scope.CLIENT, None),
        (LISTENER, "inbound:80", True, Scope.CLIENT, None),
        (CLUSTER, "web.default", True, Scope.TARGET, Target(WEB)),
        (ENDPOINTS, "web.default|version=v2|a=b", False, Scope.TARGET, Target(WEB, "v2", (("a", "b"),))),
        (SECRET, "trust", True, Scope.TRUST, None),
    ],
)
def test_what_a_resource_is_about(type_url: str, name: str, envoy: bool, scope: Scope, target: Target | None) -> None:
    for asked in (name, xdstp(name, type_url)):
        found = subject(type_url, asked, "default", envoy=envoy)
        assert found is not None
        assert (found.plain, found.scope, found.target) == (name, scope, target)


@pytest.mark.parametrize(
    ("type_url", "name"),
    [
        (CLUSTER, "web"),
        (CLUSTER, "web.default|"),
        (CLUSTER, "web.default|version="),
        (CLUSTER, "web.default|version=%762"),
        (CLUSTER, xdstp("web.default", ENDPOINTS)),
        (LISTENER, "web.default|version=v2"),
        (LISTENER, "Web"),
        (LISTENER, ""),
        (LISTENER, "a.b.c"),
    ],
)
def test_what_can_be_no_resource(type_url: str, name: str) -> None:
    assert subject(type_url, name, "default", envoy=False) is None


def test_what_anybody_may_make_up_is_not_kept() -> None:
    subjects._kept.cache_clear()
    for name in ("x" * (KEPT_LENGTH + 1), "é", f"web.default|version={'v' * KEPT_LENGTH}"):
        assert (subject(ENDPOINTS, name, "default", envoy=False) is None) == ("web" not in name)
    assert subjects._kept.cache_info().currsize == 0


def test_full_names_are_kept_once_for_all_namespaces() -> None:
    subjects._kept.cache_clear()
    found = {id(subject(LISTENER, "web.default", namespace, envoy=False)) for namespace in ("default", "other")}
    assert len(found) == subjects._kept.cache_info().currsize == 1
    for name in ("web", xdstp("web", LISTENER)):
        there = subject(LISTENER, name, "other", envoy=False)
        assert there is not None
        assert there.target == Target("namespaces/other/services/web")
