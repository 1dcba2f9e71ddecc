"""The builders of resources, by type."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from sira_grpc.xds import clusters, endpoints, listeners, routes, secrets
from sira_grpc.xds.node import Node
from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES, SECRET
from sira_grpc.xds.world import World

Builder = Callable[[World, str, Node], Any]
"""Returns the message of a name for a client; None if there is none."""

BUILDERS: Mapping[str, Builder] = {
    LISTENER: listeners.build,
    ROUTES: routes.build,
    CLUSTER: clusters.build,
    ENDPOINTS: endpoints.build,
    SECRET: secrets.build,
}
