"""The kinds of values that configuration fields have: their units, ranges and secrecy."""

from __future__ import annotations

from typing import Annotated, final

from msgspec import Meta, Struct

Seconds = Annotated[float, Meta(gt=0, le=86_400 * 365)]
"""A span of time in seconds, above 0."""
SecondsOrOff = Annotated[float, Meta(ge=0, le=86_400 * 365)]
"""A span of time in seconds; 0 switches off."""
Share = Annotated[float, Meta(ge=0, le=1)]
"""A part of a whole, 0 to 1."""
Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]
"""A number of things, at least 1."""
CountOrOff = Annotated[int, Meta(ge=0, le=2**31 - 1)]
"""A number of things; 0 switches off."""


class Section(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A group of fields. Loading refuses unknown keys and values out of range; a section checks what spans fields."""


@final
class Secret:
    """A value that is never shown: not by repr, not by a dump of the configuration."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        """Keeps the value."""
        self._value = value

    def reveal(self) -> str:
        """Returns the value itself, for whoever has to send it."""
        return self._value

    def __eq__(self, other: object) -> bool:
        """Equal where the values are."""
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        """Hashes the value."""
        return hash(self._value)

    def __repr__(self) -> str:
        """Never the value."""
        return "Secret('***')"
