"""Which part of a partition was compacted, as the store's state tells."""

from __future__ import annotations

from sira.bus.internal.v1.compaction_record_pb2 import CompactionRecord

from sira_grpc.bus import names
from sira_grpc.store.api import StateStore


async def load_compaction(store: StateStore, topic_uid: str, partition: int) -> CompactionRecord | None:
    """Returns what is stored of a partition's compaction; None if it never was compacted.

    Raises:
        StoreCorrupt: it is damaged.
    """
    entry = await store.get(names.compaction_key(topic_uid, partition))
    return CompactionRecord.FromString(entry.value) if entry is not None else None
