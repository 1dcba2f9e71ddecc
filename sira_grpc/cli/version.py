"""`sira version`: the version of this command."""

from __future__ import annotations

import platform

from sira_grpc import __version__
from sira_grpc.cli.commands import printing
from sira_grpc.cli.output import Format, Printer


@printing
def version(printer: Printer) -> None:
    """Show the version of this command; `sira status` has the kernel's."""
    if printer.format is Format.TABLE:
        print(f"sira {__version__}")
    else:
        printer.data({"version": __version__, "python": platform.python_version()})
