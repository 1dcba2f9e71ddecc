from __future__ import annotations

from pathlib import Path

import pytest

from sira_grpc.bundle_endpoint import BundleFetcher
from sira_grpc.svid.x509_svid import to_pem
from tests.unit.bundle_endpoint.endpoints import ROOT


@pytest.fixture
def web(tmp_path: Path) -> BundleFetcher:
    """Takes the root for a public authority."""
    path = tmp_path / "authorities.pem"
    path.write_bytes(to_pem([ROOT.certificate]))
    return BundleFetcher(ca_file=path, seconds=10)
