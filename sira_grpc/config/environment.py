"""The environment variables that override the configuration file: `SIRA_<SECTION>_<FIELD>`."""

from __future__ import annotations

import typing
from collections.abc import Iterator, Mapping
from typing import Any

from msgspec import structs

from sira_grpc.config.kernel import KernelConfig
from sira_grpc.config.kinds import Section
from sira_grpc.errors import ConfigError

PREFIX = "SIRA_"


def overrides(environment: Mapping[str, str]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Yields the path and the value of each field that a variable sets.

    A list is written `a,b`, a mapping `k=v,k2=v2`. Variables that do not begin with the name of a section are not ours.

    Raises:
        ConfigError: a variable begins like a section but names no field of it, or is a mapping that cannot be read.
    """
    fields = dict(_fields(KernelConfig, ()))
    sections = tuple(f"{PREFIX}{field.name.upper()}_" for field in structs.fields(KernelConfig))
    for name in sorted(environment):
        if name in fields:
            path, kind = fields[name]
            yield path, _plain(name, kind, environment[name])
        elif name.startswith(sections):
            raise ConfigError(f"{name}: this environment variable names no configuration field")


def _fields(section: type[Section], path: tuple[str, ...]) -> Iterator[tuple[str, tuple[tuple[str, ...], Any]]]:
    """Every field below a section: its variable, path and type."""
    for field in structs.fields(section):
        inner = (*path, field.name)
        if isinstance(field.type, type) and issubclass(field.type, Section):
            yield from _fields(field.type, inner)
        else:
            yield PREFIX + "_".join(inner).upper(), (inner, field.type)


def _plain(name: str, kind: Any, text: str) -> Any:
    """The text in the form that the file would have it; numbers stay text, which the conversion reads."""
    origin = typing.get_origin(typing.get_args(kind)[0] if typing.get_origin(kind) is typing.Annotated else kind)
    if origin is tuple:
        return [item.strip() for item in text.split(",") if item.strip()]
    if origin is dict:
        pairs = [item.partition("=") for item in text.split(",") if item.strip()]
        if not all(equals and key.strip() for key, equals, _ in pairs):
            raise ConfigError(f"{name}: must be k=v,k2=v2")
        return {key.strip(): value.strip() for key, _, value in pairs}
    return text
