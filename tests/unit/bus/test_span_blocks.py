"""A set with very many ranges behaves as one with few."""

from __future__ import annotations

import random

import pytest

from sira_grpc.bus import span_blocks as module
from sira_grpc.bus.span_blocks import SpanBlocks
from sira_grpc.bus.spans import Spans


@pytest.mark.parametrize("seed", range(30))
def test_it_is_the_set_that_it_says(monkeypatch: pytest.MonkeyPatch, seed: int) -> None:
    rng = random.Random(seed)
    monkeypatch.setattr(module, "BLOCK", rng.choice([1, 2, 5, 16, 1 << 14]))
    blocks, spans = SpanBlocks(), Spans()
    for _ in range(60):
        first = rng.randrange(100)
        end = first + rng.choice([0, 1, 1, 3, 20, 60])
        assert blocks.add(first, end) == spans.add(first, end)
        assert (blocks.floor, blocks.end) == (spans.floor, max(spans.end, spans.floor))
        assert list(blocks.spans()) == spans.spans()
        assert [n in blocks for n in range(180)] == [n in spans for n in range(180)]
        low, high = sorted((rng.randrange(200), rng.randrange(200)))
        assert list(blocks.missing(low, high)) == list(spans.missing(low, high))
        assert blocks.count(low, high) == spans.count(low, high)


def test_what_is_whole_takes_no_room() -> None:
    blocks = SpanBlocks()
    numbers = list(range(3 * module.BLOCK))
    random.Random(1).shuffle(numbers)
    for number in numbers:
        blocks.add(number, number + 1)
    assert not blocks._parts
    assert blocks.floor == len(numbers)
    blocks.add(10**12, 10**12 + 1)
    assert blocks.end == 10**12 + 1
    assert blocks.add(0, 10**12) == 10**12 - len(numbers)
    assert blocks.floor == 10**12 + 1
