"""The configuration of the registry."""

from __future__ import annotations

from sira_grpc.config.kinds import Count, Seconds, Section, Share


class RegistryConfig(Section, frozen=True):
    """Leases, self-preservation, events and load."""

    default_lease_ttl: Seconds = 15
    """TTL of a lease whose client names none. Seconds, default 15."""
    self_preservation_share: Share = 0.5
    """Expiry of a service pauses when more than this share of its endpoints would expire within the window.

    0 to 1, default 0.5; 1 switches self-preservation off."""
    self_preservation_min_endpoints: Count = 4
    """Services with fewer endpoints are never paused. Default 4."""
    self_preservation_window: Seconds = 15
    """The window in which expiries are counted together. Seconds, default 15."""
    self_preservation_limit: Seconds = 3600
    """How long expiry may stay paused before it goes on regardless. Seconds, default 3,600."""
    events_kept: Count = 10_000
    """Events of the registry that are kept. Default 10,000."""
    load_report_ttl: Seconds = 10
    """How long a load report counts. Seconds, default 10."""
