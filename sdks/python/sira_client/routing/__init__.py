"""A channel over several connections: each call takes the route that a router gives it, and another if that fails."""

from sira_client.routing.channel import RoutedChannel
from sira_client.routing.retry import RetryPolicy
from sira_client.routing.route import CallInfo, Route, Router

__all__ = ["CallInfo", "RetryPolicy", "Route", "RoutedChannel", "Router"]
