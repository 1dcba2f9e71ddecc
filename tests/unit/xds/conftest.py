"""Streams over a source in memory, on a clock that is moved by hand. What there is to stream, each test module says."""

from __future__ import annotations

import pytest

from sira_grpc.xds.streams import Streams
from tests.clocks import FakeClock
from tests.unit.xds.memory_source import MemorySource
from tests.unit.xds.stream_client import streams


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def opened(source: MemorySource, clock: FakeClock) -> Streams:
    return streams(source, clock)
