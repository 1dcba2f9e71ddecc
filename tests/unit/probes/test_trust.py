from __future__ import annotations

import os
from pathlib import Path

import pytest
from sira.registry.v1.health_check_pb2 import GrpcCheck, HealthCheck, HttpCheck

from sira_grpc.errors import ConfigError
from sira_grpc.probes import make_prober
from tests.unit.probes.certificates import Certificate
from tests.unit.probes.probe_servers import endpoint, grpc_server


async def test_without_a_file_the_machine_s_own_roots_are_trusted(
    certificate: Certificate, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks = [HealthCheck(grpc=GrpcCheck(tls=True)), HealthCheck(http=HttpCheck(tls=True, max_status=599))]
    states = {}
    async with grpc_server(certificate=certificate) as server:
        for roots in (certificate.certificate, Path(os.devnull)):
            monkeypatch.setenv("SSL_CERT_FILE", str(roots))
            monkeypatch.setenv("SSL_CERT_DIR", os.devnull)
            prober = make_prober()
            states[roots] = [(await prober.probe(endpoint(server.port, check))).cause for check in checks]
            await prober.close()
            await prober.close()
    trusted, untrusted = states.values()
    assert trusted[0] == "server says SERVING"
    assert "certificate" not in trusted[1]
    assert all(cause.startswith("certificate not trusted") for cause in untrusted)


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tls_ca_file: cannot read .*gone\.pem: No such file"):
        make_prober(tmp_path / "gone.pem")


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
async def test_a_file_that_holds_no_certificate(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"tls_ca_file: .* is not a PEM file of certificates"):
        make_prober(path)
