"""The first service of all, which somebody has asked for before it was there."""

from __future__ import annotations

import pytest

from sira_grpc.xds.type_urls import CLUSTER, ENDPOINTS, LISTENER, ROUTES
from tests.unit.xds.test_catalog import CLIENT, NAME, Told


@pytest.mark.parametrize("type_url", [CLUSTER, ENDPOINTS])
def test_who_asked_for_it_is_told_when_it_comes(type_url: str) -> None:
    told = Told()
    assert told.catalog.get(type_url, NAME, CLIENT) is None
    told.mesh.service()
    assert all(NAME in told.last.names[each] for each in (LISTENER, ROUTES, CLUSTER, ENDPOINTS))
    assert told.get(type_url).generation == told.last.generation
