"""Messages of any type with anything in them that their types allow, and now and then what does exist."""

from __future__ import annotations

from typing import Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import strategies as st

MAX_DEPTH = 4
_INTEGERS = {
    FieldDescriptor.CPPTYPE_INT32: (-(1 << 31), (1 << 31) - 1),
    FieldDescriptor.CPPTYPE_INT64: (-(1 << 63), (1 << 63) - 1),
    FieldDescriptor.CPPTYPE_UINT32: (0, (1 << 32) - 1),
    FieldDescriptor.CPPTYPE_UINT64: (0, (1 << 64) - 1),
    FieldDescriptor.CPPTYPE_ENUM: (-(1 << 31), (1 << 31) - 1),
}
_ODD_STRINGS = st.one_of(
    st.text(max_size=12),
    st.sampled_from(
        [
            "-",
            "namespaces/-",
            "namespaces/-/services/-",
            "namespaces/x/services/y/endpoints/z/endpoints/w",
            'name = "a" AND status.state : SERVING',
            "metadata.a.b != c",
            "traffic_policy.slow_start.window",
            "locality.zone",
            "*",
            "x" * 2000,
            "leases/none",
        ]
    ),
)


def _value(draw: st.DrawFn, field: FieldDescriptor, strings: st.SearchStrategy[str]) -> Any:
    kind = field.cpp_type
    if kind == FieldDescriptor.CPPTYPE_STRING:
        if field.type == FieldDescriptor.TYPE_BYTES:
            return draw(st.binary(max_size=12))
        return draw(strings)
    if kind == FieldDescriptor.CPPTYPE_BOOL:
        return draw(st.booleans())
    if kind in (FieldDescriptor.CPPTYPE_DOUBLE, FieldDescriptor.CPPTYPE_FLOAT):
        return draw(st.floats(width=64 if kind == FieldDescriptor.CPPTYPE_DOUBLE else 32))
    low, high = _INTEGERS[kind]
    return draw(st.one_of(st.integers(max(low, -2), 3), st.sampled_from([low, high, 80]), st.integers(low, high)))


def _fill(draw: st.DrawFn, message: Message, strings: st.SearchStrategy[str], depth: int) -> None:
    fields: Any = message.DESCRIPTOR.fields  # the stubs of protobuf know two kinds
    for field in fields:
        if draw(st.integers(0, 2)):  # what the others of base say is left to count
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            for key in draw(st.lists(st.text(max_size=4), max_size=2)):
                getattr(message, field.name)[key] = draw(strings)
        elif field.message_type is not None:
            if depth < MAX_DEPTH:
                _fill_messages(draw, message, field, strings, depth)
        elif field.is_repeated:
            message.ClearField(field.name)
            getattr(message, field.name).extend(_value(draw, field, strings) for _ in range(draw(st.integers(0, 3))))
        else:
            setattr(message, field.name, _value(draw, field, strings))


def _fill_messages(draw: st.DrawFn, message: Message, field: Any, strings: st.SearchStrategy[str], depth: int) -> None:
    inner = getattr(message, field.name)
    if field.is_repeated:
        for _ in range(draw(st.integers(0, 2))):
            _fill(draw, inner.add(), strings, depth + 1)
    else:
        inner.SetInParent()
        _fill(draw, inner, strings, depth + 1)


@st.composite
def messages(draw: st.DrawFn, base: Message, known: list[str]) -> bytes:
    """A message of the type of base, on the wire: from nothing or from base, with any of its fields replaced.

    Args:
        known: strings that mean something to whoever reads it; half of all strings are of these.
    """
    message = type(base)()
    if draw(st.booleans()):
        message.CopyFrom(base)
    strings = st.one_of(st.sampled_from(known), _ODD_STRINGS)
    _fill(draw, message, strings, 0)
    wire = bytearray(message.SerializeToString())
    if wire and draw(st.integers(0, 9)) == 0:  # now and then, not even a message
        wire[draw(st.integers(0, len(wire) - 1))] = draw(st.integers(0, 255))
    return bytes(wire)
