"""A kernel to join, and a place on disk that other users can get to."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.unit.agent.kernel_double import KernelDouble


@pytest.fixture
async def kernel() -> AsyncIterator[KernelDouble]:
    async with KernelDouble() as made:
        yield made


@pytest.fixture
def place() -> Iterator[Path]:
    """Unlike tmp_path: open to every user, and with a short path, as Unix sockets want it."""
    made = Path(tempfile.mkdtemp(prefix="sira-"))
    made.chmod(0o755)
    yield made
    shutil.rmtree(made)
