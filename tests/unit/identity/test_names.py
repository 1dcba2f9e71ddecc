"""Every name has its own key, and every key is one that the store takes."""

from __future__ import annotations

from sira_grpc.identity import names
from sira_grpc.store.validation import check_key
from tests.unit.identity.world import WEB


def test_keys_are_what_a_store_takes_and_below_the_prefix() -> None:
    keys = [
        names.DOMAIN,
        names.ROTATION,
        names.authority_key("0123456789"),
        names.token_key("0123456789"),
        names.use_key("0123456789", 999_999),
        names.certificate_key("f" * 40),
        names.serial_revocation_key("f" * 40),
        names.identity_revocation_key(WEB),
        names.identity_revocation_key("spiffe://td.test/" + "x" * 2000),
        names.federated_key("other.test"),
        names.federated_key("d" * 255),
    ]
    for key in keys:
        check_key(key)
        assert key.startswith(names.PREFIX)
    assert len(set(keys)) == len(keys)


def test_one_identity_does_not_stand_for_another() -> None:
    assert names.identity_revocation_key(WEB) != names.identity_revocation_key(WEB + "x")
    assert names.use_key("0123456789", 1) != names.use_key("0123456789", 11)
