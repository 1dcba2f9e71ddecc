"""An external authority: the files of an intermediate that it gave to the kernel."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from sira_grpc.config import IdentityConfig
from sira_grpc.svid.x509_svid import to_pem
from tests.unit.svid.authority import Authority

YEAR = 365 * 86_400


def authority(name: str = "root", issuer: Authority | None = None, **more: Any) -> Authority:
    """A root, or an intermediate, valid for a year unless it is told otherwise."""
    return Authority(name, issuer=issuer, **{"end": YEAR, **more})


def key_pem(key: Any, password: bytes | None = None) -> bytes:
    """A private key as PEM."""
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    pem: bytes = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    return pem


@dataclass(frozen=True)
class Upstream:
    """Files of an external authority in a folder."""

    folder: Path

    @property
    def cert_file(self) -> Path:
        return self.folder / "intermediate.pem"

    @property
    def key_file(self) -> Path:
        return self.folder / "intermediate.key"

    @property
    def bundle_file(self) -> Path:
        return self.folder / "roots.pem"

    def write(self, chain: Sequence[Authority], roots: Sequence[Authority], *, key: bytes | None = None) -> None:
        """Writes the intermediates, the one that issues first, its key, and the roots."""
        self.write_pem(chain=to_pem(certificates(chain)), key=key or key_pem(chain[0].key), roots=roots)

    def write_pem(self, *, chain: bytes, key: bytes, roots: Sequence[Authority] | bytes) -> None:
        self.folder.mkdir(exist_ok=True)
        self.cert_file.write_bytes(chain)
        self.key_file.touch(mode=0o600)
        self.key_file.write_bytes(key)
        self.bundle_file.write_bytes(roots if isinstance(roots, bytes) else to_pem(certificates(roots)))

    def named_in(self, config: IdentityConfig) -> IdentityConfig:
        """The configuration with these files."""
        return msgspec.structs.replace(
            config,
            upstream_cert_file=str(self.cert_file),
            upstream_key_file=str(self.key_file),
            upstream_bundle_file=str(self.bundle_file),
        )


def certificates(authorities: Sequence[Authority]) -> list[x509.Certificate]:
    return [one.certificate for one in authorities]
