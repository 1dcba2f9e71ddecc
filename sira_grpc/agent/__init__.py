"""The identity agent of a host: gives local programs their identities, and keeps them renewed."""

from __future__ import annotations

from sira_grpc.agent.agent import Agent
from sira_grpc.agent.entries import AgentConfig, load
from sira_grpc.agent.failures import IdentityLost, KernelNotTrusted, KernelUnreachable
from sira_grpc.agent.joining import Joining, join
from sira_grpc.agent.keyed_svid import KeyedSvid

__all__ = [
    "Agent",
    "AgentConfig",
    "IdentityLost",
    "Joining",
    "KernelNotTrusted",
    "KernelUnreachable",
    "KeyedSvid",
    "join",
    "load",
]
