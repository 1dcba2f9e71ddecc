from __future__ import annotations

import pytest

from sira_grpc.rpc.method_names import tolerate_undecodable


def test_decoding_is_as_strict_as_ever_elsewhere() -> None:
    tolerate_undecodable()
    tolerate_undecodable()
    with pytest.raises(UnicodeDecodeError):
        b"\xff".decode()
    with pytest.raises(UnicodeEncodeError):
        "\udc80".encode()
