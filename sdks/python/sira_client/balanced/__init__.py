"""The balanced channel: calls to a service, spread over its endpoints as its traffic policy says."""

from sira_client.balanced.channel import BalancedChannel
from sira_client.balanced.hash_key import HashKey

__all__ = ["BalancedChannel", "HashKey"]
