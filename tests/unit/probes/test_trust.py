from __future__ import annotations

from pathlib import Path

import pytest

from sira_grpc.errors import ConfigError
from sira_grpc.probes import make_prober


async def test_without_a_file_the_machine_s_own_roots_are_trusted() -> None:
    prober = make_prober()
    await prober.close()
    await prober.close()


async def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"tls_ca_file: cannot read .*gone\.pem: No such file"):
        make_prober(tmp_path / "gone.pem")


@pytest.mark.parametrize("content", [b"", b"hello", b"\xff\xfe", b"-----BEGIN CERTIFICATE-----\nAAAA\n"])
async def test_a_file_that_holds_no_certificate(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "ca.pem"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"tls_ca_file: .* is not a PEM file of certificates"):
        make_prober(path)
