"""The names that a store has on a NATS server: of its streams, and of the subjects of its keys."""

from __future__ import annotations

import hashlib

_LONGEST = 120
"""Partitions with longer names than this are named by a digest: a stream's name is a directory's, too."""


class Names:
    """The names below one prefix, which holds no `_` and no `.`, so that no two stores share one."""

    def __init__(self, prefix: str) -> None:
        self.state = f"{prefix}_state"
        self.blobs = f"{prefix}_blobs"
        self.keys = f"{prefix}.k."
        self.checks = f"{prefix}.c"
        self.mark = f"{prefix}.m"
        self.chunks = f"{prefix}.b.c."
        self.manifests = f"{prefix}.b.m."
        self._log = f"{prefix}_log_"
        self._frames = f"{prefix}.l."

    @property
    def state_subjects(self) -> list[str]:
        """The subjects of the state's stream."""
        return [f"{self.keys}>", self.checks, self.mark]

    def subject(self, key: str) -> str:
        """The subject of a key."""
        return self.keys + key.replace("/", ".")

    def key(self, subject: str) -> str:
        """The key of a subject; empty if it is no key's."""
        return subject[len(self.keys) :].replace(".", "/") if subject.startswith(self.keys) else ""

    def log(self, partition: str) -> tuple[str, str]:
        """The stream of a partition, and the subject of its frames. `+` and `~` are in no partition's name."""
        token = partition.replace("/", "+")
        if len(token) > _LONGEST:
            token = f"~{hashlib.sha256(partition.encode()).hexdigest()}"
        return self._log + token, self._frames + token
