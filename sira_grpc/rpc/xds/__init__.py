"""The services of xDS at the edge: how clients are told their configuration."""

from sira_grpc.rpc.xds.discovery_servicers import discovery_registrations

__all__ = ["discovery_registrations"]
