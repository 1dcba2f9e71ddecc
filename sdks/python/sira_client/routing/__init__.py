"""A channel over several connections: each call takes the route that a router gives it, and another if that fails."""

from sira_client.routing.call_config import CallConfig
from sira_client.routing.channel import RoutedChannel
from sira_client.routing.retry import RetryPolicy
from sira_client.routing.route import CallInfo, ConfigSelector, Route, Router

__all__ = ["CallConfig", "CallInfo", "ConfigSelector", "RetryPolicy", "Route", "RoutedChannel", "Router"]
