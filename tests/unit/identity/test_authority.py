"""An authority is stored sealed, and opens as it was."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from sira.identity.internal.v1.authority_record_pb2 import AuthorityRecord

from sira_grpc.errors import ConfigError
from sira_grpc.identity import authority as authorities
from sira_grpc.identity.forge import Forge, Terms
from sira_grpc.identity.sealing import Sealer
from sira_grpc.svid.jwt_svid import read_public_der
from tests.unit.registry.world import seeded_bytes

RANDOM = seeded_bytes(3)
SEALER = Sealer(bytes(32), RANDOM, "here")
FORGE = Forge(Terms("td.test", 1e8, 1e6, 300), RANDOM)
MADE = FORGE.authority(SEALER, now_ns=1_800_000_000 * 10**9)


def copy(record: AuthorityRecord) -> AuthorityRecord:
    made = AuthorityRecord()
    made.CopyFrom(record)
    return made


def test_it_opens_as_it_was_made() -> None:
    opened = authorities.unseal(MADE.id, AuthorityRecord.FromString(MADE.record.SerializeToString()), SEALER)
    assert opened.root == MADE.root
    assert opened.intermediates == MADE.intermediates
    for one, other in (
        (opened.issuing_key, MADE.issuing_key),
        (opened.jwt_key, MADE.jwt_key),
        (opened.root_key, MADE.root_key),
    ):
        assert one is not None
        assert other is not None
        assert one.private_numbers() == other.private_numbers()
    assert read_public_der(opened.jwt_authority.public_key) == MADE.jwt_key.public_key()
    assert opened.jwt_authority.key_id == MADE.record.jwt_key_id


def test_its_keys_do_not_pass_for_one_another() -> None:
    swapped = copy(MADE.record)
    swapped.intermediate_key, swapped.jwt_key = MADE.record.jwt_key, MADE.record.intermediate_key
    with pytest.raises(ConfigError, match="does not open"):
        authorities.unseal(MADE.id, swapped, SEALER)
    with pytest.raises(ConfigError, match="does not open"):
        authorities.unseal("another", MADE.record, SEALER)


def test_a_key_of_another_kind_is_a_defect() -> None:
    key = rsa.generate_private_key(65537, 2048)
    plain = key.private_bytes(
        serialization.Encoding.DER, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with pytest.raises(TypeError, match="no elliptic key"):
        authorities.open_key(SEALER, SEALER.seal(plain, "a/jwt"), "a", "jwt")


def test_it_does_not_tell_its_keys() -> None:
    assert repr(MADE) == f"Authority('{MADE.id}')"
