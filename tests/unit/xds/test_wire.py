from __future__ import annotations

from google.protobuf.any_pb2 import Any
from google.protobuf.wrappers_pb2 import UInt64Value
from hypothesis import given
from hypothesis import strategies as st

from sira_grpc.xds import wire


@given(st.text(max_size=300), st.binary(max_size=300))
def test_fields(name: str, data: bytes) -> None:
    made = wire.field(1, name.encode()) + wire.field(2, data)
    assert Any.FromString(made) == Any(type_url=name, value=data)


@given(st.integers(1, (1 << 64) - 1))
def test_numbers(value: int) -> None:
    assert wire.number_field(1, value) == UInt64Value(value=value).SerializeToString()
