"""Bundle endpoints, as the SPIFFE federation standard has them: serves our bundle, and fetches those of others."""

from __future__ import annotations

from sira_grpc.bundle_endpoint.fetcher import BundleFetcher
from sira_grpc.bundle_endpoint.server import BundleServer

__all__ = ["BundleFetcher", "BundleServer"]
