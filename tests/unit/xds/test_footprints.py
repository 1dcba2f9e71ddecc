from __future__ import annotations

import sys

from sira_grpc.xds.footprints import OBJECT, footprint
from sira_grpc.xds.node import Inbound


def test_all_that_is_in_a_key_counts() -> None:
    long = "x" * 1000
    assert footprint(long) == sys.getsizeof(long)
    assert footprint(3) == footprint(Inbound(1, 2)) == OBJECT
    inner = frozenset({long})
    assert footprint((5, (inner, b"y"))) == (
        2 * sys.getsizeof((1, 2)) + OBJECT + sys.getsizeof(inner) + sys.getsizeof(long) + sys.getsizeof(b"y")
    )
    assert footprint("ü€" * 100) > footprint("ue" * 100)
