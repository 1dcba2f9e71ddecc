"""Settings of a resource as options of commands: what each is called, how it is read, and where it goes."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from google.protobuf.message import Message


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting.

    Attributes:
        path: of the field, as in an update mask.
        option: what typer takes as the annotation of the parameter; None must stand for what was not given.
        read: makes the field's value of what was typed, given the name of the option for its error.
    """

    path: str
    option: Any
    read: Callable[[Any, str], Any] = lambda value, _: value

    def write(self, message: Message, value: Any, name: str) -> None:
        """Writes what was typed into a message. False leaves a field that is a message absent.

        Raises:
            Failure: it cannot be read.
        """
        *parents, last = self.path.split(".")
        around: Any = functools.reduce(getattr, parents, message)
        match self.read(value, name):
            case timedelta() as span:
                getattr(around, last).FromTimedelta(span)
                getattr(around, last).SetInParent()  # 0 is not the same as absent
            case datetime() as time:
                getattr(around, last).FromDatetime(time)
            case dict() as pairs:
                getattr(around, last).update(pairs)
            case bool() as present:
                if present:
                    getattr(around, last).SetInParent()
            case plain:
                setattr(around, last, plain)


Settings = Mapping[str, Setting]
"""By the name of the parameter: `max_age` is `--max-age`."""


def fill(message: Message, settings: Settings, given: Mapping[str, Any]) -> Sequence[str]:
    """Writes what was given into a message, and returns the paths of the update mask for it.

    Raises:
        Failure: something cannot be read.
    """
    for name, value in given.items():
        settings[name].write(message, value, f"--{name.replace('_', '-')}")
    return [settings[name].path for name in given]


def taking(settings: Settings) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Makes a decorator that gives a command these options instead of its last parameter, which gets what was given."""

    def decorate(command: Callable[..., None]) -> Callable[..., None]:
        *own, last = inspect.signature(command, eval_str=True).parameters.values()

        @functools.wraps(command)
        def run(*arguments: Any, **others: Any) -> None:
            given = {name: others.pop(name) for name in settings}
            chosen = {name: value for name, value in given.items() if value is not None}
            command(*arguments, **others, **{last.name: chosen})

        kind = inspect.Parameter.KEYWORD_ONLY
        options = [
            inspect.Parameter(name, kind, default=None, annotation=each.option) for name, each in settings.items()
        ]
        run.__signature__ = inspect.Signature([*own, *options])  # type: ignore[attr-defined]  # what commands look at
        return run

    return decorate
