"""The kernel's configuration: one typed, immutable section for each subsystem, each validating itself."""

from __future__ import annotations

from sira_grpc.config.authorization import Access, AuthorizationConfig
from sira_grpc.config.bus import BusConfig
from sira_grpc.config.cluster import ClusterConfig
from sira_grpc.config.identity import IdentityConfig
from sira_grpc.config.kernel import KernelConfig
from sira_grpc.config.kinds import Secret
from sira_grpc.config.limits import LimitsConfig
from sira_grpc.config.load import load
from sira_grpc.config.log import LogConfig
from sira_grpc.config.probes import ProbesConfig
from sira_grpc.config.registry import RegistryConfig
from sira_grpc.config.server import ServerConfig, TlsConfig
from sira_grpc.config.store import StoreConfig
from sira_grpc.config.telemetry import TelemetryConfig
from sira_grpc.config.xds import XdsConfig

__all__ = [
    "Access",
    "AuthorizationConfig",
    "BusConfig",
    "ClusterConfig",
    "IdentityConfig",
    "KernelConfig",
    "LimitsConfig",
    "LogConfig",
    "ProbesConfig",
    "RegistryConfig",
    "Secret",
    "ServerConfig",
    "StoreConfig",
    "TelemetryConfig",
    "TlsConfig",
    "XdsConfig",
    "load",
]
