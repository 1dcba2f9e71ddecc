from __future__ import annotations

import pytest

from sira_grpc.errors import EtagMismatch
from sira_grpc.etags import check_etag


@pytest.mark.parametrize("given", ["", "7"])
def test_the_stored_etag_and_none_are_taken(given: str) -> None:
    check_etag(given, 7, "namespaces/n")


@pytest.mark.parametrize("given", ["6", "07", "x", " 7"])
def test_another_etag_is_refused_with_the_stored_one(given: str) -> None:
    with pytest.raises(EtagMismatch, match=r"^etag: namespaces/n is at 7") as error:
        check_etag(given, 7, "namespaces/n")
    assert error.value.metadata == {"resource": "namespaces/n", "etag": "7"}
