from __future__ import annotations

from collections.abc import Sequence

import pytest

from sira_grpc.store import MAX_FRAME_BYTES, MAX_OPS, MAX_VALUE_BYTES, Delete, LogRange, Op, Put, Store

MALFORMED = ["", "/", "a/", "/a", "a//b", "a b", "a.b", "é", "a\n", "a\0", "*", ">", "a" * 65, "/".join("abcdefghi")]


@pytest.mark.parametrize("key", MALFORMED)
async def test_a_malformed_key_is_named_and_changes_nothing(store: Store, key: str) -> None:
    for call in (
        store.commit([Put("fine", b""), Put(key, b"")]),
        store.commit([Delete(key)]),
        store.get(key),
    ):
        with pytest.raises(ValueError, match=r"^key .*segments"):
            await call
    for log_call in (
        store.append(key, [b""]),
        store.read(key, 0, max_frames=1, max_bytes=1),
        store.range(key),
        store.offset_at(key, 0),
        store.trim(key, 1),
        store.delete_partition(key),
    ):
        with pytest.raises(ValueError, match=r"^partition .*segments"):
            await log_call
    assert store.revision == 0


@pytest.mark.parametrize("key", ["a", "A-_9", "a" * 64, "/".join("abcdefgh"), "/".join(["b" * 64] * 8)])
async def test_the_longest_and_oddest_keys_are_good(store: Store, key: str) -> None:
    await store.commit([Put(key, b"value")])
    await store.append(key, [b"frame"])
    assert [entry.key for entry in (await store.snapshot("")).entries] == [key]
    assert await store.range(key) == LogRange(0, 1)


@pytest.mark.parametrize("prefix", ["a", "/", "a//", "a/b", "é/", "*"])
async def test_a_malformed_prefix_is_named(store: Store, prefix: str) -> None:
    with pytest.raises(ValueError, match=r"^prefix "):
        await store.snapshot(prefix)
    with pytest.raises(ValueError, match=r"^prefix "):
        await anext(store.watch(prefix, after=0))


@pytest.mark.parametrize(
    ("ops", "rule"),
    [
        ([], "1 to 1000"),
        ([Put(f"key/{number}", b"") for number in range(MAX_OPS + 1)], "not 1001"),
        ([Put("a", b""), Delete("a")], "only once"),
        ([Put("a", b"", expected=-1)], "not negative"),
        ([Put("a", "text")], "value is str, not bytes"),  # type: ignore[arg-type]  # the wrong type is what is tested
        ([Put("a", bytes(MAX_VALUE_BYTES + 1))], "1048577 bytes"),
        ([Put(f"key/{number}", bytes(MAX_VALUE_BYTES)) for number in range(17)], "together"),
    ],
)
async def test_a_commit_outside_the_limits_changes_nothing(store: Store, ops: Sequence[Op], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        await store.commit(ops)
    assert store.revision == 0
    assert (await store.snapshot("")).entries == ()


async def test_a_commit_at_the_limits_is_whole(store: Store) -> None:
    ops: list[Op] = [Put(f"key/{number}", b"small") for number in range(MAX_OPS - 1)]
    revision = await store.commit([Put("large", bytes(MAX_VALUE_BYTES)), *ops])
    commit = await anext(store.watch("", after=0))
    assert (commit.revision, len(commit.changes)) == (revision, MAX_OPS)
    entry = await store.get("large")
    assert entry is not None
    assert entry.value == bytes(MAX_VALUE_BYTES)
    assert len((await store.snapshot("key/")).entries) == MAX_OPS - 1


@pytest.mark.parametrize(
    ("frames", "rule"),
    [
        ([], "1 to 1000"),
        ([b""] * (MAX_OPS + 1), "not 1001"),
        (["text"], "must be bytes"),
        ([bytes(MAX_FRAME_BYTES + 1)], "4194305 bytes"),
        ([bytes(MAX_FRAME_BYTES)] * 5, "together"),
    ],
)
async def test_an_append_outside_the_limits_changes_nothing(store: Store, frames: Sequence[bytes], rule: str) -> None:
    with pytest.raises(ValueError, match=rule):
        await store.append("log", frames)
    assert await store.range("log") == LogRange(0, 0)


async def test_frames_at_the_limit_are_read_one_by_one(store: Store) -> None:
    frames = [bytes([number]) * MAX_FRAME_BYTES for number in range(3)]
    await store.append("log", frames)
    for number, frame in enumerate(frames):
        found = await store.read("log", number, max_frames=10, max_bytes=1)
        assert [(one.offset, one.data) for one in found] == [(number, frame)]


async def test_a_read_of_no_frames_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="max_frames"):
        await store.read("log", 0, max_frames=0, max_bytes=1)


async def test_a_watch_from_a_negative_revision_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="not negative"):
        await anext(store.watch("", after=-1))


@pytest.mark.parametrize("digest", ["", "a", "A" * 64, "g" * 64, "a" * 65, "\ud800"])
async def test_what_is_no_digest_is_an_unknown_blob(store: Store, digest: str) -> None:
    assert not await store.has_blob(digest)
    await store.delete_blob(digest)
    with pytest.raises(KeyError):
        await anext(store.get_blob(digest))
