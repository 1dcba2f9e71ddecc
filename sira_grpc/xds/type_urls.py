"""The types of xDS resources, and the order in which they are sent."""

from __future__ import annotations

_PREFIX = "type.googleapis.com/envoy."

LISTENER = f"{_PREFIX}config.listener.v3.Listener"
ROUTES = f"{_PREFIX}config.route.v3.RouteConfiguration"
CLUSTER = f"{_PREFIX}config.cluster.v3.Cluster"
ENDPOINTS = f"{_PREFIX}config.endpoint.v3.ClusterLoadAssignment"
SECRET = f"{_PREFIX}extensions.transport_sockets.tls.v3.Secret"

ORDER = (SECRET, CLUSTER, ENDPOINTS, LISTENER, ROUTES)
"""Make before break: what is referred to comes before what refers to it."""

FULL_STATE = frozenset({LISTENER, CLUSTER})
"""Types of which a state of the world is all there is: what is absent from it is gone."""
