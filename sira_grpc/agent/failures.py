"""What keeps the agent from doing its work, besides failed calls and faulty configuration."""

from __future__ import annotations

from sira_grpc.errors import SiraError


class KernelUnreachable(SiraError):
    """Nobody answers at the kernel's address, or not as a kernel does."""


class KernelNotTrusted(SiraError):
    """Who answers at the kernel's address cannot prove to be the kernel that is meant."""


class IdentityLost(SiraError):
    """The agent's own identity cannot be used any more: it has to join again."""


class Refused(SiraError):
    """The kernel does not grant what was asked for, and will not the next time either, as things are."""


class Unready(SiraError):
    """It cannot be had right now; later it may."""
