"""The image of the store in memory."""

from __future__ import annotations

import pytest
from sira.cluster.internal.v1.member_record_pb2 import DutyRecord, MemberRecord, SecretRecord

from sira_grpc.cluster import names
from sira_grpc.cluster.view import ClusterView
from sira_grpc.errors import KernelStopping
from sira_grpc.store.api import Change, Commit, Entry, Snapshot


def member(host: str) -> bytes:
    return MemberRecord(host=host).SerializeToString()


def duty(of: str) -> bytes:
    return DutyRecord(member=of, term=1).SerializeToString()


def commit(revision: int, key: str, value: bytes | None) -> Commit:
    return Commit(revision, (Change(key, value, revision),))


def loaded(*entries: Entry) -> tuple[ClusterView, list[str]]:
    view, told = ClusterView(), list[str]()
    view.member_written.append(lambda entry: told.append(f"{entry.member}@{entry.revision}"))
    view.member_gone.append(lambda gone: told.append(f"-{gone}"))
    view.duty_changed.append(lambda name: told.append(f"duty {name}"))
    view.load(Snapshot(9, entries))
    return view, told


async def test_what_is_written_and_deleted_is_there_and_told() -> None:
    view, told = loaded()
    view.apply(commit(10, names.member_key("a"), member("one")))
    view.apply(commit(11, names.duty_key("sweep"), duty("a")))
    view.apply(commit(12, names.SECRET, SecretRecord(key=b"k").SerializeToString()))
    assert view.members["a"].record.host == "one"
    assert view.duties["sweep"].member == "a"
    assert view.secret == b"k"
    view.apply(commit(13, names.member_key("a"), None))
    view.apply(commit(14, names.duty_key("sweep"), None))
    view.apply(commit(15, names.SECRET, None))
    assert not view.members
    assert not view.duties
    assert view.secret is None
    assert told == ["a@10", "duty sweep", "-a", "duty sweep"]
    assert view.revision == 15
    await view.caught_up(15)


def test_what_a_snapshot_had_already_is_not_applied_again() -> None:
    view, told = loaded(
        Entry(names.member_key("a"), member("new"), 12),
        Entry(names.duty_key("sweep"), duty("new"), 12),
    )
    for key, value in ((names.member_key("a"), member("old")), (names.duty_key("sweep"), duty("old"))):
        view.apply(commit(10, key, value))
        view.apply(commit(11, key, None))
    view.apply(commit(11, names.member_key("b"), None))
    assert view.members["a"].record.host == "new"
    assert view.duties["sweep"].member == "new"
    assert not told


def test_what_others_write_is_passed_over() -> None:
    view, told = loaded()
    view.apply(commit(10, "registry/namespaces/default", b"\xff"))
    view.apply(commit(11, "cluster/something-new/a", b"\xff"))
    assert not told
    assert view.revision == 11


async def test_who_waits_for_a_view_that_ends_is_told() -> None:
    view, _ = loaded()
    view.close()
    with pytest.raises(KernelStopping):
        await view.caught_up(10)
