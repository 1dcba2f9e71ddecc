"""A group of commands in which `list` may be left out."""

from __future__ import annotations

from typing import Any

from typer.core import TyperGroup


class ListByDefault(TyperGroup):
    """Takes arguments that begin with none of its commands as those of `list`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """See TyperGroup."""
        first = args[0] if args else ""
        # Whoever completes a command line is to be offered the commands.
        if first not in self.commands and first not in ctx.help_option_names and not ctx.resilient_parsing:
            args = ["list", *args]
        return super().parse_args(ctx, args)
