"""The configuration of the log."""

from __future__ import annotations

from typing import Literal

from sira_grpc.config.kinds import Section


class LogConfig(Section, frozen=True):
    """What is logged to stderr, and how."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    """The least severe level that is logged. Default info."""
    format: Literal["text", "json"] = "text"
    """Lines for people, or one JSON object a line. Default text."""
