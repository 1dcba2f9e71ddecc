from __future__ import annotations

import socket

import pytest

from sira_grpc.bundle_endpoint import BundleFetcher
from sira_grpc.bundle_endpoint.fetcher import MAX_REDIRECTS
from sira_grpc.errors import BundleUnavailable
from tests.unit.bundle_endpoint.endpoints import (
    OTHER,
    answering,
    document,
    hostile_server,
    http,
    svid,
    web_certificate,
)
from tests.unit.bundle_endpoint.fetching import GOOD, fetch_spiffe, fetch_web


@pytest.mark.parametrize("status", ["301 X", "302 X", "303 X", "307 X", "308 X"])
async def test_a_redirect(web: BundleFetcher, status: str) -> None:
    requests: list[bytes] = []
    async with hostile_server(answering(GOOD, requests=requests)) as port:
        here = f"https://127.0.0.1:{port}/bundle"
        async with hostile_server(answering(http(status, Location=here))) as first:
            assert await fetch_web(web, first) == document()
    assert requests[0].startswith(b"GET /bundle HTTP/1.1\r\n")


async def test_a_redirect_to_the_same_host(web: BundleFetcher) -> None:
    requests: list[bytes] = []
    async with hostile_server(answering(http("302 Found", Location="../b"), GOOD, requests=requests)) as port:
        assert await fetch_web(web, port, "/a/x") == document()
    assert requests[1].startswith(b"GET /b HTTP/1.1\r\n")


async def test_as_many_redirects_as_there_may_be(web: BundleFetcher) -> None:
    again = http("302 Found", Location="/")
    async with hostile_server(answering(*[again] * MAX_REDIRECTS, GOOD)) as port:
        assert await fetch_web(web, port) == document()
    requests: list[bytes] = []
    async with hostile_server(answering(again, requests=requests)) as port:
        with pytest.raises(BundleUnavailable, match=f"it redirects more than {MAX_REDIRECTS} times"):
            await fetch_web(web, port)
    assert len(requests) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "location", ["http://127.0.0.1:{port}/", "ftp://127.0.0.1/", "https://ann@127.0.0.1/", "file:///x"]
)
async def test_a_redirect_that_is_not_followed(web: BundleFetcher, location: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as trap:
        trap.setblocking(False)
        where = location.format(port=trap.getsockname()[1])
        async with hostile_server(answering(http("302 Found", Location=where))) as port:
            with pytest.raises(BundleUnavailable, match=r"it redirects to '.*', which is no https URL"):
                await fetch_web(web, port)
        with pytest.raises(BlockingIOError):
            trap.accept()


async def test_a_redirect_to_somebody_who_is_not_trusted(web: BundleFetcher) -> None:
    async with (
        hostile_server(answering(GOOD), web_certificate(OTHER)) as port,
        hostile_server(answering(http("302 Found", Location=f"https://localhost:{port}/"))) as first,
    ):
        with pytest.raises(BundleUnavailable, match="its certificate is not trusted"):
            await fetch_web(web, first)


async def test_https_spiffe_has_no_redirects() -> None:
    requests: list[bytes] = []
    async with hostile_server(answering(http("302 Found", Location="/"), GOOD, requests=requests), svid()) as port:
        with pytest.raises(BundleUnavailable, match="it redirects, which the profile https_spiffe does not allow"):
            await fetch_spiffe(port)
    assert len(requests) == 1
