"""The configuration of who may call what."""

from __future__ import annotations

from typing import Literal

from sira_grpc.config.kinds import Section

Access = Literal["none", "read", "write"]
"""What a caller may do: nothing; what changes nothing; everything."""


class AuthorizationConfig(Section, frozen=True):
    """What callers may do without an identity."""

    anonymous: Access | None = None
    """What callers without identity may do. Default: `none` with identity or where client certificates are required;
    otherwise `write` if only this machine can reach the kernel, `read` if others can."""
