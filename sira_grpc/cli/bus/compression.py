"""How payloads are compressed, as an option."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sira_client.bus import Compression


class CompressionName(StrEnum):
    """What `--compression` takes."""

    ZSTD = "zstd"
    LZ4 = "lz4"


Option = Annotated[
    CompressionName | None,
    typer.Option("--compression", help="Of the payloads, where it gains anything. Default: none."),
]


def method(name: CompressionName | None) -> Compression:
    """What the client library calls it."""
    if name is None:
        return None
    return "zstd" if name is CompressionName.ZSTD else "lz4"
