"""Where the payloads come from that are published."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from sira_grpc.cli.bus import reading
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure


@dataclass(frozen=True, slots=True)
class PayloadSource:
    """An argument, or else a file or stdin.

    Attributes:
        payload: the argument; None, or `-`, for none.
        file: None for stdin.
        lines: each line of it is a payload.
        count: how often each is to be published.
    """

    payload: str | None
    file: Path | None
    lines: bool
    count: int

    async def payloads(self) -> AsyncIterator[bytes]:
        """Yields each payload, as often as it is to be published.

        Raises:
            Failure: the file cannot be read, or one is too large.
        """
        if self.payload not in {None, "-"}:
            for _ in range(self.count):
                yield os.fsencode(str(self.payload))
            return
        named = "stdin" if self.file is None else f"--file: {self.file}"
        with nullcontext(sys.stdin.buffer) if self.file is None else _opened(self.file) as stream:
            if self.lines:
                async for line in reading.lines(stream, named):
                    for _ in range(self.count):
                        yield line
            else:
                read = await reading.whole(stream, named)
                for _ in range(self.count):
                    yield read


def _opened(file: Path) -> IO[bytes]:
    try:
        return file.open("rb", buffering=0)
    except OSError as error:
        raise Failure(f"--file: {error}", ExitCode.USAGE) from error
