"""The balanced channel: calls to a service, spread over its endpoints as its traffic policy says."""

from sira_client.balanced.balancer import HashKey
from sira_client.balanced.channel import BalancedChannel

__all__ = ["BalancedChannel", "HashKey"]
