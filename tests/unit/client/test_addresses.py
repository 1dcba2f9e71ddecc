from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sira_client import addresses, connect, connect_insecure
from sira_client.names import derived_id, endpoint_name, service_name
from sira_client.tls import TlsFiles

BAD = ["", "host", ":80", "host:", "host:0", "host:65536", "host:x", "::1:80", "a:b:80", "[::1]"]


@pytest.mark.parametrize("address", BAD)
def test_a_malformed_address_is_refused(address: str) -> None:
    with pytest.raises(ValueError, match=r"address: .* must be host:port"):
        connect(address, tls=TlsFiles(ca="ca.pem"))


@pytest.mark.parametrize("address", [[], ()])
def test_there_must_be_an_address(address: list[str]) -> None:
    with pytest.raises(ValueError, match="address: there must be one at least"):
        connect_insecure(address)


@pytest.mark.parametrize("address", ["10.0.0.1:80", "example.com:80", "[2001:db8::1]:80", "0.0.0.0:80"])
def test_plaintext_leaves_the_machine_never(address: str) -> None:
    with pytest.raises(ValueError, match="is not loopback"):
        connect_insecure(["127.0.0.1:80", address])


@pytest.mark.parametrize("address", ["127.0.0.1:80", "127.1.2.3:80", "localhost:80", "[::1]:80", "unix:/run/sira.sock"])
def test_what_is_local(address: str) -> None:
    assert addresses.is_local(address)
    connect_insecure(address)


@pytest.mark.parametrize(
    ("address", "target"),
    [
        ("host:80", "dns:///host:80"),
        ("10.0.0.1:80", "ipv4:10.0.0.1:80"),
        ("[::1]:80", "ipv6:[::1]:80"),
        ("unix:/a/b", "unix:/a/b"),
    ],
)
def test_how_grpc_is_told_of_a_kernel(address: str, target: str) -> None:
    assert addresses.grpc_target(address) == target


@pytest.mark.parametrize(
    ("hosts", "target"),
    [
        (["10.0.0.1", "10.0.0.2"], "ipv4:10.0.0.1:80,10.0.0.2:80"),
        (["10.0.0.1", "::1", "host"], "ipv4:10.0.0.1:80"),
        (["::1", "10.0.0.1", "::2"], "ipv6:[::1]:80,[::2]:80"),
        (["host", "10.0.0.1"], "dns:///host:80"),
    ],
)
def test_how_grpc_is_told_of_an_endpoint(hosts: list[str], target: str) -> None:
    assert addresses.target(hosts, 80) == target


async def test_own_address_of_a_local_kernel() -> None:
    assert await addresses.own_address("unix:/run/sira.sock") == "127.0.0.1"


async def test_own_address_is_the_one_on_the_way_to_the_kernel() -> None:
    # Any address of this machine that is not written as loopback: the way to it begins there.
    assert await addresses.own_address("0.0.0.0:80") == "127.0.0.1"


@given(st.lists(st.text(max_size=50), max_size=3))
def test_a_derived_id_is_always_well_formed(parts: list[str]) -> None:
    assert endpoint_name("s", derived_id(*parts)).startswith("s/endpoints/")


def test_a_derived_id_keeps_its_end() -> None:
    assert derived_id("h" * 80, "4711", "abcd1234").endswith("-4711-abcd1234")
    assert derived_id("Host.Example", "7") == "host-example-7"
    assert derived_id("7") == "e7"


def test_a_service_is_named_by_id_or_in_full() -> None:
    assert service_name("greeter") == "namespaces/default/services/greeter"
    assert service_name("greeter", "prod") == "namespaces/prod/services/greeter"
    assert service_name("namespaces/prod/services/greeter", "ignored") == "namespaces/prod/services/greeter"


@pytest.mark.parametrize(
    ("service", "namespace", "field"),
    [
        ("Greeter", "default", "service"),
        ("a/b", "default", "service"),
        ("a", "", "namespace"),
        ("a" * 64, "a", "service"),
    ],
)
def test_a_malformed_id_is_refused(service: str, namespace: str, field: str) -> None:
    with pytest.raises(ValueError, match=f"{field}: .* must match"):
        service_name(service, namespace)


def test_a_malformed_endpoint_id_is_refused() -> None:
    with pytest.raises(ValueError, match="endpoint_id: 'X' must match"):
        endpoint_name("namespaces/default/services/a", "X")
