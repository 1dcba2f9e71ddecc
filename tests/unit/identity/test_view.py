"""The view is the same whether it was fed from the beginning or loaded from what is left in the store."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sira.identity.internal.v1.authority_record_pb2 import AuthorityRecord, DomainRecord
from sira.identity.internal.v1.join_token_record_pb2 import JoinTokenRecord
from sira.identity.internal.v1.revocation_record_pb2 import RevocationRecord
from sira.identity.internal.v1.rotation_record_pb2 import RotationRecord
from sira.identity.v1.certificate_pb2 import Certificate
from sira.identity.v1.federated_bundle_pb2 import FederatedBundle
from sira.identity.v1.trust_bundle_pb2 import TrustBundle

from sira_grpc.errors import KernelStopping
from sira_grpc.identity import names
from sira_grpc.identity.view import IdentityView
from sira_grpc.store import open_sqlite
from sira_grpc.store.api import Change, Commit, Delete, Entry, Op, Put, Snapshot
from sira_grpc.times import timestamp
from tests.clocks import FakeClock
from tests.unit.identity.world import API, WEB, World

FEW = st.integers(0, 2)
TIMES = st.integers(1, 5)


EXPIRIES = (0, 2, 4)
"""When each certificate expires. Only the record of the first, which is over, is ever deleted."""


def certificate(number: int, *, superseded: bool = False, revoked: bool = False) -> Certificate:
    made = Certificate(
        serial=f"{number:040x}",
        identity=(WEB, API, WEB)[number],
        authority=f"a{number}",
        superseded_by="f" if superseded else "",
        issue_time=timestamp(number),
        expire_time=timestamp(EXPIRIES[number]),
    )
    if revoked:
        made.revoke_time.CopyFrom(timestamp(9))
    return made


@st.composite
def puts(draw: st.DrawFn, ended: dict[int, int]) -> Op:
    """Anything that identity writes, of a few of each kind, so that much is written twice.

    Args:
        ended: how each certificate has ended so far, as bits: what has ended once has ended for ever.
    """
    number, identity = draw(FEW), draw(st.sampled_from([WEB, API]))
    ended[number] = ended.get(number, 0) | draw(st.integers(0, 3))
    held = certificate(number, superseded=bool(ended[number] & 1), revoked=bool(ended[number] & 2))
    serial = RevocationRecord(serial=f"{number:x}", revoke_time=timestamp(draw(TIMES)))
    whole = RevocationRecord(identity=identity, revoke_time=timestamp(draw(TIMES)))
    bundle = TrustBundle(trust_domain=f"d{number}.test", sequence=draw(TIMES))
    written: dict[str, Any] = {
        names.DOMAIN: DomainRecord(issuing=f"a{number}", trusted=[f"a{number}"], sequence=draw(TIMES)),
        names.ROTATION: RotationRecord(from_authority=f"a{number}"),
        names.authority_key(f"a{number}"): AuthorityRecord(root=bytes([draw(TIMES)])),
        names.token_key(f"t{number}"): JoinTokenRecord(secret_sha256=bytes([draw(TIMES)])),
        names.use_key(f"t{number}", draw(FEW)): held.serial.encode(),
        names.certificate_key(held.serial): held,
        names.serial_revocation_key(serial.serial): serial,
        names.identity_revocation_key(identity): whole,
        names.federated_key(bundle.trust_domain): FederatedBundle(bundle=bundle),
        "registry/other": b"not identity's",
    }
    if number == 0 and ended.get(-1):  # no serial number is used twice
        del written[names.certificate_key(held.serial)]
    key = draw(st.sampled_from(sorted(written)))
    value = written[key]
    return Put(key, value if isinstance(value, bytes) else value.SerializeToString())


DELETED = st.sampled_from(
    [
        names.ROTATION,
        names.certificate_key(certificate(0).serial),
        *(names.authority_key(f"a{n}") for n in range(3)),
        *(names.token_key(f"t{n}") for n in range(3)),
        *(names.use_key(f"t{n}", slot) for n in range(3) for slot in range(3)),
        *(names.serial_revocation_key(f"{n:x}") for n in range(3)),
        *(names.identity_revocation_key(identity) for identity in (WEB, API)),
        *(names.federated_key(f"d{n}.test") for n in range(3)),
        "registry/other",
    ]
)


@st.composite
def histories(draw: st.DrawFn) -> list[list[Op]]:
    """Commits."""
    ended: dict[int, int] = {}
    made = []
    for _ in range(draw(st.integers(0, 20))):
        ops: dict[str, Op] = {}
        for _ in range(draw(st.integers(1, 4))):
            op = draw(puts(ended)) if draw(st.integers(0, 2)) else Delete(draw(DELETED))
            ops[op.key] = op
            ended[-1] = ended.get(-1, 0) or int(op == Delete(names.certificate_key(certificate(0).serial)))
        made.append(list(ops.values()))
    return made


def image(view: IdentityView) -> dict[str, Any]:
    """All that a view knows."""
    return {
        "revision": view.revision,
        "trust_revision": view.trust_revision,
        "domain": view.domain,
        "rotation": view.rotation,
        "authorities": view.authorities,
        "tokens": dict(view.tokens),
        "certificates": view.certificates,
        "by_identity": view.by_identity,
        "revoked_serials": view.revoked_serials,
        "revoked_identities": view.revoked_identities,
        "federated": view.federated,
        "live": [view.live.count(time, a) for time in range(1, 7) for a in ("", "a0", "a1", "a2")],
        "revoked": [view.revoked(i, f"{n:x}", t) for i in (WEB, API) for n in range(3) for t in range(7)],
        "expired": sorted(view.expired(4)),
    }


async def fed_and_loaded(
    commits: Sequence[Sequence[Op]], split: int
) -> tuple[IdentityView, IdentityView, IdentityView]:
    """Views fed by every commit; loaded at the end; loaded in between and fed from there."""
    with tempfile.TemporaryDirectory() as folder:
        store = await open_sqlite(Path(folder), clock=FakeClock())
        try:
            fed, resumed, loaded = IdentityView(), IdentityView(), IdentityView()
            for commit in commits[:split]:
                await store.commit(commit)
            between = await store.snapshot(names.PREFIX)
            resumed.load(between)
            for commit in commits[split:]:
                await store.commit(commit)
            loaded.load(await store.snapshot(names.PREFIX))
            await feed(fed, store, 0)
            await feed(resumed, store, between.revision)
            return fed, resumed, loaded
        finally:
            await store.close()


async def feed(view: IdentityView, store: Any, after: int) -> None:
    if store.revision <= after:
        return
    feed = store.watch("", after=after)
    async for commit in feed:
        view.apply(commit)
        if commit.revision == store.revision:
            break
    await feed.aclose()


@settings(max_examples=60)
@given(histories(), st.integers(0, 20))
def test_loading_is_the_same_as_having_been_there(commits: list[list[Op]], split: int) -> None:
    fed, resumed, loaded = asyncio.run(fed_and_loaded(commits, split))
    wanted = image(fed)
    assert image(resumed) == wanted
    assert image(loaded) == wanted


async def test_a_running_kernel_and_one_that_starts_see_the_same(world: World) -> None:
    held = await world.join()
    await world.join(API, max_uses=2)
    await world.renew(held)
    await world.identity.records.revoke_identity(API, cause="", actor="")
    await world.identity.records.revoke_serial("abc", cause="", actor="")
    await world.identity.rotator.start()
    loaded = IdentityView()
    loaded.load(await world.store.snapshot(names.PREFIX))
    assert image(loaded) == image(world.identity.view)


def commit(revision: int, key: str, value: bytes | None) -> Commit:
    return Commit(revision, (Change(key, value, revision),))


def test_who_verifies_is_told_of_what_changes_trust_and_of_nothing_else() -> None:
    view, told = IdentityView(), list[int]()
    view.trust_changed.append(told.append)
    changes: list[tuple[str, Any, bool]] = [
        (names.DOMAIN, DomainRecord(), True),
        (names.authority_key("a"), AuthorityRecord(), True),
        (names.certificate_key("1"), certificate(1), False),
        (names.token_key("t"), JoinTokenRecord(), False),
        (names.federated_key("o.test"), FederatedBundle(bundle=TrustBundle(trust_domain="o.test")), True),
        (names.serial_revocation_key("1"), RevocationRecord(serial="1"), True),
        (names.ROTATION, RotationRecord(), True),
        ("registry/services/x", None, False),
        (names.ROTATION, None, True),
        (names.federated_key("o.test"), None, True),
    ]
    wanted = []
    for revision, (key, message, of_interest) in enumerate(changes, start=1):
        view.apply(commit(revision, key, message.SerializeToString() if message is not None else None))
        wanted += [revision] if of_interest else []
        assert (told, view.trust_revision) == (wanted, wanted[-1])
    assert view.roots_revision == 2
    assert view.revision == len(changes)


def test_what_is_gone_leaves_nothing_behind() -> None:
    view = IdentityView()
    keys = {
        names.token_key("t"): JoinTokenRecord().SerializeToString(),
        names.use_key("t", 0): b"1",
        names.certificate_key("1"): Certificate(serial="1", identity=WEB).SerializeToString(),
        names.serial_revocation_key("1"): RevocationRecord(serial="1").SerializeToString(),
        names.identity_revocation_key(WEB): RevocationRecord(identity=WEB).SerializeToString(),
    }
    for revision, (key, value) in enumerate(keys.items(), start=1):
        view.apply(commit(revision, key, value))
    for revision, key in enumerate(keys, start=10):
        view.apply(commit(revision, key, None))
        view.apply(commit(revision + 10, key, None))
    for left in (view.tokens, view.certificates, view.by_identity, view.revoked_serials, view.revoked_identities):
        assert not left
    assert not view._revocation_keys


def test_the_uses_of_a_token_outlive_its_record() -> None:
    view = IdentityView()
    view.apply(commit(1, names.token_key("t"), JoinTokenRecord().SerializeToString()))
    view.apply(commit(2, names.use_key("t", 3), b"serial"))
    view.apply(commit(3, names.token_key("t"), None))
    assert view.tokens["t"].record is None
    assert view.tokens["t"].uses == {3: "serial"}
    view.apply(commit(4, names.use_key("t", 3), None))
    assert "t" not in view.tokens


def test_what_is_being_revoked_is_refused_before_the_store_has_it() -> None:
    view = IdentityView()
    assert not view.revoked(WEB, "1", 5)
    view.revoking.add(WEB)
    assert view.revoked(WEB, "1", 5)
    assert not view.revoked(API, "1", 5)


def test_expired_records_are_found_once_unless_they_are_put_back() -> None:
    view = IdentityView()
    for number in range(1, 4):
        held = Certificate(serial=str(number), identity=WEB, expire_time=timestamp(number)).SerializeToString()
        view.apply(commit(number, names.certificate_key(str(number)), held))
        view.apply(commit(number + 10, names.certificate_key(str(number)), held))
    assert view.expired(1) == []
    assert view.expired(3) == ["1", "2"]
    assert view.expired(3) == []
    view.expire(["1", "2", "none"])
    view.apply(commit(30, names.certificate_key("1"), None))
    assert view.expired(9) == ["2", "3"]


async def test_who_waits_for_a_closed_view_waits_in_vain() -> None:
    view = IdentityView()
    waiting = asyncio.create_task(view.caught_up(1))
    await asyncio.sleep(0)
    view.close()
    with pytest.raises(KernelStopping):
        await waiting


def test_what_a_snapshot_held_beyond_its_revision_does_not_go_back() -> None:
    view = IdentityView()
    held, gone = names.use_key("t", 0), names.use_key("t", 1)
    view.load(Snapshot(5, (Entry(held, b"newest", 8),), ((gone, 9),)))
    for revision, key, value in ((6, held, b"old"), (7, gone, b"old"), (8, held, b"newest"), (9, gone, None)):
        view.apply(Commit(revision, (Change(key, value, revision),)))
        assert view.tokens["t"].uses == {0: "newest"}
    view.apply(Commit(10, (Change(held, b"newer", 10), Change(gone, b"again", 10))))
    assert view.tokens["t"].uses == {0: "newer", 1: "again"}
