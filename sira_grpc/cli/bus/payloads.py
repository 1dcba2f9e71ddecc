"""Payloads and keys as people read them: JSON, text, or hexadecimal; nothing that a terminal would obey."""

from __future__ import annotations

import json
from collections.abc import Iterator

WIDTH = 100
"""JSON that is no longer than this stays on one line."""
SHOWN_BYTES = 256
"""What is shown of a payload that is no text."""
_ROW = 16


def lines(payload: bytes) -> list[str]:
    """Returns a payload in lines."""
    text = decoded(payload)
    if text is None:
        return list(_hexadecimal(payload))
    if text[:1] in {"{", "["} and (pretty := _json(text)) is not None:
        return pretty.split("\n")
    return text.rstrip("\n").split("\n") if text else []


def decoded(data: bytes) -> str | None:
    """Returns text that can be printed as it is; None for what is none."""
    try:
        text = data.decode()
    except UnicodeDecodeError:
        return None
    return text if all(char.isprintable() or char in "\n\t" for char in text) else None


def brief(data: bytes) -> str:
    """Returns a key or the like on one line: text, or hexadecimal after `0x`."""
    text = decoded(data)
    return f"0x{data.hex()}" if text is None or "\n" in text else text


def word(text: str) -> str:
    """Returns a header or the like on one line, quoted as in JSON where it could not be printed as it is."""
    return text if text.isprintable() else json.dumps(text)


def _json(text: str) -> str | None:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    short = _dumped(value, None)
    return short if len(short) <= WIDTH else _dumped(value, 2)


def _dumped(value: object, indent: int | None) -> str:
    """JSON without what could not be printed: an escape in it may stand for anything."""
    text = json.dumps(value, ensure_ascii=False, indent=indent)
    return text if text.replace("\n", "").isprintable() else json.dumps(value, indent=indent)


def _hexadecimal(data: bytes) -> Iterator[str]:
    for start in range(0, min(len(data), SHOWN_BYTES), _ROW):
        row = data[start : min(start + _ROW, SHOWN_BYTES)]
        text = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in row)
        yield f"{start:04x}  {row.hex(' '):<{_ROW * 3 - 1}}  {text}"
    if len(data) > SHOWN_BYTES:
        yield f"... {len(data):,} bytes in all"
