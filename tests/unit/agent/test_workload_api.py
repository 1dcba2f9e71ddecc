"""The Workload API of an agent that runs, as a plain gRPC client sees it."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import grpc
import pytest
from cryptography import x509
from grpc import aio
from sira.identity.workload.v1.workload_pb2 import X509BundlesRequest, X509BundlesResponse
from sira_client.clock import SystemClock

from sira_grpc.agent.jwt_cache import JwtCache
from sira_grpc.agent.workload_api import WorkloadApi
from sira_grpc.errors import IdentityNotAllowed, SiraError
from sira_grpc.rpc.call import Context
from sira_grpc.svid import jwt_svid, x509_svid
from sira_grpc.svid.spiffe_id import SpiffeId
from tests.unit.agent.authority_double import AuthorityDouble, bundle_of
from tests.unit.agent.kernel_double import DOMAIN, KernelDouble
from tests.unit.agent.workload import CHECKOUT, MINE, ORDERS, Program, failure, program, served

DOMAIN_ID = f"spiffe://{DOMAIN}"
SECOND = {**MINE, "identity": ORDERS, "dns_names": ["orders.example.org"]}
METHODS: dict[str, Callable[[Program], Any]] = {
    "FetchX509SVID": lambda asking: asking.x509_svids().read(),
    "FetchX509Bundles": lambda asking: asking.x509_bundles().read(),
    "FetchJWTBundles": lambda asking: asking.jwt_bundles().read(),
    "FetchJWTSVID": lambda asking: asking.jwt_svids("audience"),
    "ValidateJWTSVID": lambda asking: asking.validate("token", "audience"),
}
every_method = pytest.mark.parametrize("method", METHODS.values(), ids=METHODS.keys())


def verify(svid: Any, roots: bytes) -> x509_svid.X509Svid:
    """Verifies an X.509-SVID as a peer would."""
    leaf, *rest = _ders(svid.x509_svid)
    return x509_svid.verify(leaf, rest, {DOMAIN: _ders(roots)}, now=time.time())


def _ders(data: bytes) -> list[x509.Certificate]:
    """Certificates, DER one after the other."""
    found = []
    while data:
        length = int.from_bytes(data[2:4]) + 4
        found.append(x509_svid.read_der(data[:length]))
        data = data[length:]
    return found


@every_method
async def test_the_header_is_needed(kernel: KernelDouble, place: Path, method: Callable[[Program], Any]) -> None:
    async with served(kernel, place):
        for metadata in ((), (("workload.spiffe.io", "True"),), (("workload.spiffe.io", "true"),) * 2):
            async with program(place / "run" / "agent.sock", metadata) as asking:
                code, details = await failure(method(asking))
                assert code is grpc.StatusCode.INVALID_ARGUMENT
                assert details == "workload.spiffe.io: this metadata must be sent, as `true`"


@every_method
async def test_who_matches_no_entry_has_no_identity(
    kernel: KernelDouble, place: Path, method: Callable[[Program], Any]
) -> None:
    entries: list[dict[str, Any]] = [
        {"identity": CHECKOUT, "uid": os.geteuid() + 1},
        {"identity": ORDERS, "path": "/usr/bin/another"},
    ]
    async with served(kernel, place, workloads=entries) as (_, asking):
        code, details = await failure(method(asking))
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert details.startswith(f"no identity: no entry matches process {os.getpid()}, uid {os.geteuid()}, ")


async def test_an_x509_svid_comes_with_its_key_and_roots(kernel: KernelDouble, place: Path) -> None:
    async with served(kernel, place) as (_, asking):
        answer = await asking.x509_svids().read()
        (svid,) = answer.svids
        assert svid.spiffe_id == f"{DOMAIN_ID}/{CHECKOUT}"
        verified = verify(svid, svid.bundle)
        assert kernel.certificates(CHECKOUT) == [verified.serial]
        assert svid.bundle == kernel.authorities[0].root_der
        from cryptography.hazmat.primitives.serialization import load_der_private_key

        key: Any = load_der_private_key(svid.x509_svid_key, None)
        assert key.public_key() == _ders(svid.x509_svid)[0].public_key()


async def test_nothing_is_issued_before_it_is_wanted(kernel: KernelDouble, place: Path) -> None:
    async with served(kernel, place, workloads=[MINE, SECOND]) as (_, asking):
        await kernel.acknowledged(kernel.revision)
        assert {identity for identity, _, _ in kernel.issued} == {f"{DOMAIN_ID}/node/one"}
        await asking.x509_svids().read()
        assert len(kernel.issued) == 3


async def test_all_identities_come_in_the_order_of_their_entries(kernel: KernelDouble, place: Path) -> None:
    entries = [SECOND, MINE, {**MINE, "gid": os.getegid()}]
    async with served(kernel, place, workloads=entries) as (_, asking):
        answer = await asking.x509_svids().read()
        assert [svid.spiffe_id for svid in answer.svids] == [f"{DOMAIN_ID}/{ORDERS}", f"{DOMAIN_ID}/{CHECKOUT}"]
        assert ("orders.example.org",) in [names for _, names, _ in kernel.issued]


async def test_all_programs_share_one_certificate_of_an_identity(kernel: KernelDouble, place: Path) -> None:
    async with served(kernel, place) as (_, asking), program(place / "run" / "agent.sock") as other:
        answers = await asyncio.gather(asking.x509_svids().read(), other.x509_svids().read())
        assert answers[0] == answers[1]
        assert len(kernel.certificates(CHECKOUT)) == 1


async def test_a_stream_brings_each_change_once(kernel: KernelDouble, place: Path) -> None:
    async with served(kernel, place) as (_, asking):
        stream = asking.x509_svids()
        first = await stream.read()
        await kernel.acknowledged(kernel.revision)
        await kernel.acknowledged(await kernel.publish())  # in which nothing is another
        other = AuthorityDouble("other.test")
        kernel.federated.append(bundle_of("other.test", other))
        await kernel.publish()
        second = await stream.read()
        assert dict(second.federated_bundles) == {"spiffe://other.test": other.root_der}
        assert second.svids == first.svids
        kernel.revoked.add("abcdef")
        await kernel.publish()
        third = await stream.read()
        assert x509.load_der_x509_crl(third.crl[0]).get_revoked_certificate_by_serial_number(0xABCDEF) is not None


async def test_who_reads_slowly_gets_the_latest(kernel: KernelDouble, place: Path) -> None:
    async with served(kernel, place) as (agent, _):
        await kernel.acknowledged(kernel.revision)
        holdings = agent._holdings
        assert holdings is not None
        api = WorkloadApi(lambda context: [], holdings, cast(JwtCache, None), SystemClock())
        stream = api.fetch_x509_bundles(X509BundlesRequest(), cast(Context, None))
        await anext(stream)
        names = [f"{letter}.test" for letter in "abc"]
        for name in names:
            more = bundle_of(name, AuthorityDouble(name))
            holdings.adopt(replace(holdings.trust, federated=(*holdings.trust.federated, more)))
        latest = X509BundlesResponse.FromString(await anext(stream))
        assert len(latest.bundles) == 1 + len(names)
        holdings.changed()
        reading = asyncio.ensure_future(anext(stream))
        await asyncio.sleep(0)
        assert not reading.done()
        reading.cancel()


async def test_bundles_of_all_trust_domains(kernel: KernelDouble, place: Path) -> None:
    other = AuthorityDouble("other.test")
    kernel.federated.append(bundle_of("other.test", other))
    async with served(kernel, place) as (_, asking):
        await kernel.acknowledged(kernel.revision)
        x509_bundles = await asking.x509_bundles().read()
        own = kernel.authorities[0]
        assert dict(x509_bundles.bundles) == {DOMAIN_ID: own.root_der, "spiffe://other.test": other.root_der}
        jwt_bundles = await asking.jwt_bundles().read()
        keys = {domain: json.loads(document)["keys"] for domain, document in jwt_bundles.bundles.items()}
        assert {domain: [key["kid"] for key in listed] for domain, listed in keys.items()} == {
            DOMAIN_ID: [own.id],
            "spiffe://other.test": [other.id],
        }


async def test_bundle_streams_bring_each_change(kernel: KernelDouble, place: Path) -> None:
    async with served(kernel, place) as (_, asking):
        await kernel.acknowledged(kernel.revision)
        x509_stream, jwt_stream = asking.x509_bundles(), asking.jwt_bundles()
        await asyncio.gather(x509_stream.read(), jwt_stream.read())
        kernel.authorities.append(AuthorityDouble(DOMAIN))
        await kernel.publish()
        assert len(_ders((await x509_stream.read()).bundles[DOMAIN_ID])) == 2
        assert len(json.loads((await jwt_stream.read()).bundles[DOMAIN_ID])["keys"]) == 2


async def test_a_jwt_svid_is_issued_for_each_identity_and_kept(kernel: KernelDouble, place: Path) -> None:
    async with served(kernel, place, workloads=[MINE, SECOND]) as (_, asking):
        await kernel.acknowledged(kernel.revision)
        answer = await asking.jwt_svids("one", "two", "one")
        assert [svid.spiffe_id for svid in answer.svids] == [f"{DOMAIN_ID}/{CHECKOUT}", f"{DOMAIN_ID}/{ORDERS}"]
        assert kernel.jwts == [(svid.spiffe_id, ("one", "two")) for svid in answer.svids]
        assert await asking.jwt_svids("two", "one") == answer
        assert len(kernel.jwts) == 2
        (only,) = (await asking.jwt_svids("one", spiffe_id=f"{DOMAIN_ID}/{ORDERS}")).svids
        assert only.spiffe_id == f"{DOMAIN_ID}/{ORDERS}"


@pytest.mark.parametrize(
    ("audience", "spiffe_id", "code", "said"),
    [
        ([], "", grpc.StatusCode.INVALID_ARGUMENT, "audience: must be 1 to 16"),
        ([""], "", grpc.StatusCode.INVALID_ARGUMENT, "audience: must have 1 to 2048 characters each"),
        (["a" * 2049], "", grpc.StatusCode.INVALID_ARGUMENT, "audience: must have 1 to 2048 characters each"),
        ([f"{i}" for i in range(17)], "", grpc.StatusCode.INVALID_ARGUMENT, "audience: must be 1 to 16"),
        (["a"], "nobody", grpc.StatusCode.INVALID_ARGUMENT, "spiffe_id: "),
        (["a"], f"{DOMAIN_ID}/{ORDERS}", grpc.StatusCode.PERMISSION_DENIED, "not entitled to"),
        (["a"], f"{DOMAIN_ID}/node/one", grpc.StatusCode.PERMISSION_DENIED, "not entitled to"),
    ],
)
async def test_a_bad_request_for_a_jwt_svid(
    kernel: KernelDouble, place: Path, audience: list[str], spiffe_id: str, code: grpc.StatusCode, said: str
) -> None:
    async with served(kernel, place) as (_, asking):
        failed, details = await failure(asking.jwt_svids(*audience, spiffe_id=spiffe_id))
        assert failed is code
        assert said in details
        assert kernel.jwts == []


async def test_a_jwt_svid_is_validated_with_the_keys_of_its_trust_domain(kernel: KernelDouble, place: Path) -> None:
    other = AuthorityDouble("other.test")
    kernel.federated.append(bundle_of("other.test", other))
    async with served(kernel, place) as (_, asking):
        await kernel.acknowledged(kernel.revision)
        own = (await asking.jwt_svids("me")).svids[0].svid
        answer = await asking.validate(own, "me")
        assert answer.spiffe_id == f"{DOMAIN_ID}/{CHECKOUT}"
        assert answer.claims["sub"] == answer.spiffe_id
        assert list(answer.claims["aud"]) == ["me"]  # type: ignore[arg-type] # a list, as far as the test knows
        foreign = SpiffeId.parse("spiffe://other.test/node/one")
        token = jwt_svid.sign(other.jwt_key, other.id, foreign, ["me"], now=int(time.time()), ttl=60)
        assert (await asking.validate(token, "me")).spiffe_id == str(foreign)
        forged = jwt_svid.sign(
            other.jwt_key, other.id, SpiffeId.parse(answer.spiffe_id), ["me"], now=int(time.time()), ttl=60
        )
        for bad, audience in ((forged, "me"), (own, "you"), (own[:-4], "me"), ("a.b.c", "me"), ("", "me"), (own, "")):
            code, _ = await failure(asking.validate(bad, audience))
            assert code is grpc.StatusCode.INVALID_ARGUMENT


async def test_what_the_kernel_refuses_is_not_given(kernel: KernelDouble, place: Path) -> None:
    def refuse(identity: str) -> SiraError | None:
        return IdentityNotAllowed("not delegated") if identity.endswith(refused) else None

    refused = CHECKOUT
    kernel.refusing = refuse
    async with served(kernel, place, workloads=[MINE, SECOND]) as (_, asking):
        answer = await asking.x509_svids().read()
        assert [svid.spiffe_id for svid in answer.svids] == [f"{DOMAIN_ID}/{ORDERS}"]
        code, details = await failure(asking.jwt_svids("a", spiffe_id=f"{DOMAIN_ID}/{CHECKOUT}"))
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert "IDENTITY_NOT_ALLOWED" in details


async def test_nothing_is_given_when_the_kernel_refuses_all(kernel: KernelDouble, place: Path) -> None:
    kernel.refusing = lambda identity: IdentityNotAllowed("not delegated")
    async with served(kernel, place) as (_, asking):
        code, details = await failure(asking.x509_svids().read())
        assert code is grpc.StatusCode.PERMISSION_DENIED
        assert "does not vouch for" in details


async def test_streams_end_with_the_agent(kernel: KernelDouble, place: Path) -> None:
    async with served(kernel, place) as (agent, asking):
        await kernel.acknowledged(kernel.revision)
        streams = [asking.x509_svids(), asking.x509_bundles(), asking.jwt_bundles()]
        for stream in streams:
            await stream.read()
        await agent.__aexit__(None, None, None)
        for stream in streams:
            code, details = await failure(stream.read())
            assert (code, details) == (grpc.StatusCode.UNAVAILABLE, "the agent is stopping: try again in a moment")


async def test_an_identity_is_let_go_some_time_after_its_last_user(kernel: KernelDouble, place: Path) -> None:
    async with served(kernel, place, linger=0.0) as (agent, asking):
        for _ in range(2):
            stream = asking.x509_svids()
            await stream.read()
            holdings = agent._holdings
            assert holdings is not None
            assert len(holdings.held) == 2
            subscriber = holdings.streams.subscribe(holdings.streams.revision)
            stream.cancel()
            await subscriber.wait()
            subscriber.close()
            assert holdings.held == [holdings.own]
        first, _ = kernel.certificates(CHECKOUT)
        assert kernel.superseded[-1] == first  # so that no rotation need wait for what nobody uses any more


async def test_an_identity_stays_for_a_while(kernel: KernelDouble, place: Path) -> None:
    async with served(kernel, place) as (_, asking):
        for _ in range(3):
            stream = asking.x509_svids()
            await stream.read()
            stream.cancel()
        assert len(kernel.certificates(CHECKOUT)) == 1


async def test_a_method_that_is_not_there(kernel: KernelDouble, place: Path) -> None:
    async with served(kernel, place) as (_, asking):
        call: Any = asking._channel.unary_unary("/SpiffeWorkloadAPI/Nothing")
        with pytest.raises(aio.AioRpcError) as error:
            await call(b"", metadata=asking._metadata)
        assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
