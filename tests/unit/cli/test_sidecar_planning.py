"""What a sidecar does, from what was typed."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
from sira_client import IdentityAgent, IdentityFiles

from sira_grpc.cli.contexts import Context
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Format, Printer
from sira_grpc.cli.session import Session
from sira_grpc.cli.sidecar.options import Options
from sira_grpc.cli.sidecar.plan import Plan
from sira_grpc.cli.sidecar.planning import plan_of
from sira_grpc.svid.join_secret import JoinSecret
from sira_grpc.xds.node import Inbound

REMOTE = Context(addr="kernel.example:7400")
LOCAL = Context(addr="127.0.0.1:7400", namespace="shop")


def plan(context: Context = LOCAL, **typed: Any) -> Plan:
    session = Session(context, Printer(Format.JSON), 3.0)
    given: dict[str, Any] = {"service": "checkout", "envoy": Path(sys.executable), "egress": 15001, **typed}
    return plan_of(session, Options(**given))


def refusal(context: Context = LOCAL, **typed: Any) -> str:
    with pytest.raises(Failure) as raised:
        plan(context, **typed)
    assert raised.value.code is ExitCode.USAGE
    return str(raised.value)


def test_the_first_inbound_port_is_registered() -> None:
    made = plan(
        inbound=["15006:50051", "15007:50052"],
        host="10.0.0.9",
        weight=7,
        version="v2",
        metadata=["a=b"],
        zone="z",
        endpoint_id="one",
        drain="3s",
        check_interval="7s",
    )
    assert made.inbound == (Inbound(15006, 50051), Inbound(15007, 50052))
    assert made.listeners == {"inbound:15006", "inbound:15007", "egress"}
    assert made.node_id == "checkout.shop/one"
    assert made.endpoint is not None
    wanted = {"port": 15006, "address": "10.0.0.9", "weight": 7, "version": "v2", "metadata": {"a": "b"}}
    assert wanted.items() <= made.endpoint.items()
    assert made.endpoint["service"] == "namespaces/shop/services/checkout"
    assert made.endpoint["health_check"].ttl.ttl.ToSeconds() == 21
    assert made.endpoint["drain_timeout"] == made.drain == made.envoy.drain_seconds == 3


def test_without_an_inbound_port_nothing_is_registered() -> None:
    assert plan().endpoint is None
    assert plan(inbound=["1:2"], register=False).endpoint is None
    assert plan().listeners == {"egress"}


def test_ids_are_made_up() -> None:
    one, other = plan(inbound=["15006:50051"]), plan(inbound=["15006:50051"])
    assert one.endpoint_id != other.endpoint_id
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", one.endpoint_id)


def test_upstreams_are_named_as_calls_name_them() -> None:
    made = plan(upstream=["pay", "stock.depot", "namespaces/x/services/y"])
    assert made.upstreams == [
        "namespaces/shop/services/pay",
        "namespaces/depot/services/stock",
        "namespaces/x/services/y",
    ]


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "nothing to do": ({"egress": 0}, "--inbound, --egress: one of them is needed"),
    "no pair": ({"inbound": ["15006"]}, "--inbound: '15006' must be PORT:TARGET_PORT"),
    "no port": ({"inbound": ["0:1"]}, "--inbound: '0:1' must be"),
    "too high": ({"inbound": ["1:65536"]}, "--inbound: '1:65536' must be"),
    "no digits": ({"inbound": ["\u0661:1"]}, "must be PORT:TARGET_PORT"),
    "too long": ({"inbound": ["000000001:1"]}, "must be PORT:TARGET_PORT"),
    "twice": ({"inbound": ["7:1", "7:2"]}, "--inbound: port 7 is to be listened at twice"),
    "as the egress": ({"inbound": ["15001:1"]}, "--inbound: port 15001 is to be listened at twice"),
    "to itself": ({"inbound": ["7:7"]}, "--inbound: 7 is a port of Envoy's"),
    "a circle": ({"inbound": ["7:15001"]}, "--inbound: 15001 is a port of Envoy's"),
    "too many": ({"inbound": [f"{port}:1" for port in range(2, 20)]}, "--inbound: there may be 16 at most"),
    "no service": ({"service": "Checkout!"}, "--service: 'Checkout!' must be like pay, pay.shop"),
    "no resource": ({"service": "namespaces/x"}, "--service: service: 'namespaces/x' must match"),
    "no upstream": ({"upstream": ["a.b.c"]}, "--upstream: 'a.b.c' must be like"),
    "no check": ({"inbound": ["1:2"], "check": "icmp"}, "--check: 'icmp' is none of"),
    "no interval": ({"inbound": ["1:2"], "check_interval": "0s"}, "--check-interval: must be 100ms to 1h"),
    "no duration": ({"drain": "soon"}, "--drain: 'soon' is no duration"),
    "no program": ({"command": ["/not/there"]}, "COMMAND: /not/there is no program"),
    "no member": ({"member": ["nowhere"]}, "address: 'nowhere' must be host:port"),
    "a token for nothing": ({"token": "x"}, "--join: is missing"),
    "nowhere to keep it": ({"join": "127.0.0.1:7401"}, "--identity: is missing; the identity that is joined for"),
}


@pytest.mark.parametrize(("typed", "said"), BAD.values(), ids=BAD.keys())
def test_what_makes_no_sense_is_said_so(typed: dict[str, Any], said: str) -> None:
    assert said in refusal(**typed)


def test_plaintext_goes_to_loopback_only() -> None:
    assert plan().access.source is None
    assert plan().access.trust_domain == ""
    assert "at kernel.example:7400 Envoy has to prove who it is" in refusal(REMOTE)
    assert "has to prove" in refusal(Context(addr="kernel.example:7400", cert_file="c.pem", key_file="k.pem"))


def test_the_identity_comes_from_where_one_says(tmp_path: Path) -> None:
    given = plan(REMOTE, identity=tmp_path, member=["other.example:7400"]).access
    assert isinstance(given.source, IdentityFiles)
    assert given.kernel == ("kernel.example:7400", "other.example:7400")
    assert given.directory is None
    of_context = plan(Context(addr=REMOTE.addr, identity_dir=str(tmp_path))).access
    assert str(of_context.source) == f"the identity directory {tmp_path}"
    agent = plan(Context(addr=REMOTE.addr, agent_socket="unix:/run/agent.sock")).access
    assert isinstance(agent.source, IdentityAgent)


def test_a_token_makes_it_the_service(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = JoinSecret("0" * 10, "1" * 40, "2" * 64)
    monkeypatch.setenv("SIRA_JOIN_TOKEN", str(secret))
    access = plan(REMOTE, namespace="shop", identity=tmp_path, join="kernel.example:7401").access
    assert access.directory == tmp_path
    assert access.joining is not None
    assert (access.joining.address, access.joining.identity) == ("kernel.example:7401", "ns/shop/svc/checkout")
    monkeypatch.delenv("SIRA_JOIN_TOKEN")
    later = plan(REMOTE, identity=tmp_path, join="kernel.example:7401").access
    assert (later.directory, later.joining) == (tmp_path, None)
