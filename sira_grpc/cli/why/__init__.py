"""`sira why`: what clients of xDS were sent, what they made of it, and what they would get now."""

from __future__ import annotations

from sira_grpc.cli.why.command import why

__all__ = ["why"]
