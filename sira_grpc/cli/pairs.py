"""`key=value` arguments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import typer

from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

Metadata = Annotated[list[str] | None, typer.Option("--metadata", metavar="KEY=VALUE", help="A label; repeatable.")]


def parse(pairs: Sequence[str] | None, option: str = "--metadata") -> dict[str, str]:
    """Reads pairs; the last one of a key counts.

    Raises:
        Failure: one has no key or no equals sign.
    """
    read = {}
    for pair in pairs or ():
        key, equals, value = pair.partition("=")
        if not key or not equals:
            raise Failure(f"{option}: {pair!r} must be key=value", ExitCode.USAGE)
        read[key] = value
    return read
