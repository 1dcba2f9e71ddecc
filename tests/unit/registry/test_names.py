from __future__ import annotations

from sira_grpc.registry import names


def test_the_parts_of_a_name() -> None:
    endpoint = "namespaces/n/services/services/endpoints/endpoints"
    assert names.service_of(endpoint) == "namespaces/n/services/services"
    assert names.namespace_of(endpoint) == "namespaces/n"
    assert names.namespace_of("namespaces/n/services/s") == "namespaces/n"
    assert names.lease_name("l") == "leases/l"


def test_keys_and_names_stand_for_each_other() -> None:
    endpoint = "namespaces/n/services/s/endpoints/e"
    assert names.namespace_key("namespaces/n") == "registry/namespaces/n"
    assert names.service_key("namespaces/n/services/s") == "registry/services/n/s"
    assert names.endpoint_path(endpoint) == "n/s/e"
    for name in ("namespaces/n", "namespaces/n/services/s", endpoint):
        assert names.name_of_path("/".join(name.split("/")[1::2])) == name
