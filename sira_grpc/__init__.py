"""Sira: a gRPC service-mesh kernel."""

__version__ = "0.1.0"
