"""Certificates and roots of a real Envoy, from a sidecar and from the agent of a host, while both are renewed."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sira_client import IdentityFiles

from sira_grpc.agent import Agent
from sira_grpc.cli.sidecar.envoy_config import SDS, sds_config
from sira_grpc.cli.sidecar.secret_server import SecretServer
from sira_grpc.svid import x509_svid
from tests.integration.envoy import PATIENCE, RunningEnvoy, needs_envoy, running, shown
from tests.unit.agent.authority_double import AuthorityDouble
from tests.unit.agent.kernel_double import DOMAIN, KernelDouble
from tests.unit.agent.workload import CHECKOUT, MINE, ORDERS, config, joining, written
from tests.unit.cli.svid_files import write
from tests.unit.svid.authority import Authority

pytestmark = needs_envoy
_TYPE = "type.googleapis.com/envoy"


@pytest.fixture
def place() -> Iterator[Path]:
    """With a short path, as Unix sockets want it."""
    made = Path(tempfile.mkdtemp(prefix="sira-"))
    yield made
    shutil.rmtree(made)


def answering() -> dict[str, Any]:
    """A filter that answers everybody."""
    return {
        "@type": f"{_TYPE}.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "test",
        "route_config": {
            "virtual_hosts": [
                {
                    "name": "all",
                    "domains": ["*"],
                    "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}],
                }
            ]
        },
        "http_filters": [
            {
                "name": "envoy.filters.http.router",
                "typed_config": {"@type": f"{_TYPE}.extensions.filters.http.router.v3.Router"},
            }
        ],
    }


def bootstrap(socket: Path, certificate: str, roots: str) -> dict[str, Any]:
    """An Envoy with one listener over mutual TLS, which answers everybody."""
    tls = {
        "@type": f"{_TYPE}.extensions.transport_sockets.tls.v3.DownstreamTlsContext",
        "require_client_certificate": True,
        "common_tls_context": {
            "tls_certificate_sds_secret_configs": [sds_config(certificate)],
            "validation_context_sds_secret_config": sds_config(roots),
        },
    }
    chain = {
        "filters": [{"name": "envoy.filters.network.http_connection_manager", "typed_config": answering()}],
        "transport_socket": {"name": "envoy.transport_sockets.tls", "typed_config": tls},
    }
    address = {"socket_address": {"address": "127.0.0.1", "port_value": 0}}
    pipe = {"endpoint": {"address": {"pipe": {"path": str(socket)}}}}
    cluster = {
        "name": SDS,
        "type": "STATIC",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPE}.extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": {}},
            }
        },
        "load_assignment": {"cluster_name": SDS, "endpoints": [{"lb_endpoints": [pipe]}]},
    }
    return {
        "node": {"id": "test", "cluster": "test"},
        "static_resources": {
            "listeners": [{"name": "tls", "address": address, "filter_chains": [chain]}],
            "clusters": [cluster],
        },
    }


def authority() -> Authority:
    return Authority(now=time.time())


async def until_shown(envoy: RunningEnvoy, directory: Path, serial: str | None) -> None:
    """Connects until the Envoy shows a certificate; None: until it refuses what is in the directory."""
    port = await envoy.port("tls")
    async with asyncio.timeout(PATIENCE):
        while await shown(port, directory) != serial:
            pass


@asynccontextmanager
async def beside_a_sidecar(place: Path, directory: Path) -> AsyncIterator[RunningEnvoy]:
    socket = place / "sds.sock"
    async with (
        IdentityFiles(directory) as source,
        SecretServer(socket, source),
        running(bootstrap(socket, "identity", "trust"), place, "tls") as envoy,
    ):
        yield envoy


async def test_a_sidecar_gives_its_envoy_each_certificate(place: Path) -> None:
    issuer = authority()
    own, peer = place / "own", place / "peer"
    first = write(own, issuer)
    write(peer, issuer)
    async with beside_a_sidecar(place, own) as envoy:
        port = await envoy.port("tls")
        assert await shown(port, peer) == x509_svid.serial_of(first.certificate)
        second = write(own, issuer)
        await until_shown(envoy, peer, x509_svid.serial_of(second.certificate))


async def test_a_sidecar_gives_its_envoy_each_set_of_roots(place: Path) -> None:
    old, new = authority(), authority()
    both = [old.certificate, new.certificate]
    own, early, late = place / "own", place / "early", place / "late"
    first = x509_svid.serial_of(write(own, old).certificate)
    write(early, old, roots=both)
    write(late, new, roots=both)
    async with beside_a_sidecar(place, own) as envoy:
        port = await envoy.port("tls")
        assert await shown(port, early) == first
        assert await shown(port, late) is None
        second = x509_svid.serial_of(write(own, old, roots=both).certificate)
        await until_shown(envoy, late, second)
        assert await shown(port, early) == second
        third = x509_svid.serial_of(write(own, new, roots=[new.certificate]).certificate)
        await until_shown(envoy, early, None)
        assert await shown(port, late) == third


async def test_an_envoy_keeps_what_it_has_while_nobody_gives_it_more(place: Path) -> None:
    issuer = authority()
    own, peer = place / "own", place / "peer"
    first = write(own, issuer)
    write(peer, issuer)
    socket = place / "sds.sock"
    async with IdentityFiles(own) as source:
        async with SecretServer(socket, source):
            envoys = running(bootstrap(socket, "identity", "trust"), place, "tls")
            envoy = await envoys.__aenter__()
        try:
            assert await shown(await envoy.port("tls"), peer) == x509_svid.serial_of(first.certificate)
            async with SecretServer(socket, source):
                second = write(own, issuer)
                await until_shown(envoy, peer, x509_svid.serial_of(second.certificate))
        finally:
            await envoys.__aexit__(None, None, None)


@pytest.fixture
async def kernel() -> AsyncIterator[KernelDouble]:
    async with KernelDouble() as made:
        yield made


@asynccontextmanager
async def beside_an_agent(
    kernel: KernelDouble, place: Path, certificate: str, roots: str
) -> AsyncIterator[tuple[Agent, RunningEnvoy]]:
    """The Envoy is entitled to two identities; the second one is in the directory `peer`, too."""
    socket = place / "run" / "agent.sock"
    entries = [MINE, {**MINE, "identity": ORDERS}]
    files = [{"identity": ORDERS, "directory": str(place / "peer")}]
    configured = config(kernel, socket, workloads=entries, files=files)
    async with Agent(configured, place / "home", joining=joining(kernel)) as agent:
        await written(agent, ORDERS)
        async with running(bootstrap(socket, certificate, roots), place, "tls") as envoy:
            yield agent, envoy


NAMES = {
    "those of SPIRE": ("default", "ROOTCA"),
    "SPIFFE IDs": (f"spiffe://{DOMAIN}/{ORDERS}", f"spiffe://{DOMAIN}"),
    "those of Sira": ("identity", "trust"),
    "the roots of all": ("default", "ALL"),
}


@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES.keys())
async def test_the_agent_gives_an_envoy_what_it_asks_for(
    kernel: KernelDouble, place: Path, names: tuple[str, str]
) -> None:
    async with beside_an_agent(kernel, place, *names) as (_, envoy):
        (serial,) = kernel.certificates(ORDERS if names[0].endswith(ORDERS) else CHECKOUT)
        assert await shown(await envoy.port("tls"), place / "peer") == serial


async def test_the_agent_gives_an_envoy_each_certificate(kernel: KernelDouble, place: Path) -> None:
    async with beside_an_agent(kernel, place, "default", "ROOTCA") as (agent, envoy):
        (first,) = kernel.certificates(CHECKOUT)
        assert await shown(await envoy.port("tls"), place / "peer") == first
        holdings = agent._holdings
        assert holdings is not None
        (held,) = (held for held in holdings.held if held.identity.path == CHECKOUT)
        held.renew()
        await kernel.until(lambda: len(kernel.certificates(CHECKOUT)) == 2)
        await until_shown(envoy, place / "peer", kernel.certificates(CHECKOUT)[1])


async def test_the_agent_gives_an_envoy_each_set_of_roots(kernel: KernelDouble, place: Path) -> None:
    async with beside_an_agent(kernel, place, "default", "ROOTCA") as (_, envoy):
        (first,) = kernel.certificates(CHECKOUT)
        await until_shown(envoy, place / "peer", first)
        new = AuthorityDouble(DOMAIN)
        kernel.authorities.append(new)
        kernel.issuing = new
        await kernel.publish()
        await kernel.until(lambda: len(kernel.certificates(CHECKOUT)) == 2)
        await until_shown(envoy, place / "peer", kernel.certificates(CHECKOUT)[1])
