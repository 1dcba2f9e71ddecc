"""The configuration of the store."""

from __future__ import annotations

from sira_grpc.config.kinds import Count, Section
from sira_grpc.errors import ConfigError


class StoreConfig(Section, frozen=True):
    """Where state is kept, and how much of its history."""

    data_dir: str = "sira-data"
    """Folder of the embedded engine, created if missing. Relative to the working folder. Default sira-data."""
    history_limit: Count = 100_000
    """Revisions that can still be watched from; older ones are compacted away. Default 100,000."""

    def __post_init__(self) -> None:
        """Checks what spans fields."""
        if not self.data_dir:
            raise ConfigError("store.data_dir: must not be empty")
