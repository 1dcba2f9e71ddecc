"""What the doctor finds: how bad it is, where, what it is, and what to do about it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path


class Severity(StrEnum):
    """How bad a finding is. A note is nothing wrong."""

    ERROR = "error"
    WARNING = "warning"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was found.

    Attributes:
        severity: how bad it is.
        subject: the file, folder or context that it is about.
        finding: what it is.
        remedy: what to do.
    """

    severity: Severity
    subject: str
    finding: str
    remedy: str


def error(subject: Path | str, finding: str, remedy: str) -> Finding:
    """Something that does not work, or is open to misuse."""
    return Finding(Severity.ERROR, str(subject), finding, remedy)


def warning(subject: Path | str, finding: str, remedy: str) -> Finding:
    """Something that will not work for long."""
    return Finding(Severity.WARNING, str(subject), finding, remedy)


def note(subject: Path | str, finding: str, remedy: str) -> Finding:
    """Something that may be meant to be so."""
    return Finding(Severity.NOTE, str(subject), finding, remedy)


def wrong(findings: Iterable[Finding]) -> list[Finding]:
    """Those that are more than notes."""
    return [finding for finding in findings if finding.severity is not Severity.NOTE]
