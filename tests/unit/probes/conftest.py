"""A prober with trust in one certificate."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from sira_grpc.probes import make_prober
from sira_grpc.registry.probe_api import Prober
from tests.unit.probes.certificates import Certificate, make_certificate


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """For probe.test and 127.0.0.1."""
    return make_certificate(tmp_path_factory.mktemp("tls"), dns="probe.test", ip="127.0.0.1")


@pytest.fixture
async def prober(certificate: Certificate) -> AsyncIterator[Prober]:
    """Trusts the certificate and no other."""
    made = make_prober(certificate.certificate)
    yield made
    await made.close()
