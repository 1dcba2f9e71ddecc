"""What a kernel tells at its first start."""

from __future__ import annotations

import ipaddress

import pytest

from sira_grpc.cli.first_start import reached_address


@pytest.mark.parametrize(
    ("address", "names", "reached"),
    [
        ("10.0.0.1:7401", (), "10.0.0.1:7401"),
        ("10.0.0.1:7401", ("sira.example.org",), "10.0.0.1:7401"),
        ("0.0.0.0:7401", ("sira.example.org", "10.0.0.1"), "sira.example.org:7401"),
        ("[::]:7401", ("2001:db8::1",), "[2001:db8::1]:7401"),
    ],
)
def test_an_address_for_all_interfaces_is_told_as_one_that_others_can_use(
    address: str, names: tuple[str, ...], reached: str
) -> None:
    assert reached_address(address, names) == reached


def test_without_a_name_it_is_this_hosts_own_address() -> None:
    host, _, port = reached_address("0.0.0.0:7401").rpartition(":")
    assert port == "7401"
    assert host
    try:
        assert not ipaddress.ip_address(host).is_unspecified
    except ValueError:
        assert host.strip()  # a name, on a machine without a way to the world
