"""Secrets as Envoy has them: a certificate with its key, or whom to trust; each serialized, as SDS hands them on."""

from __future__ import annotations

from collections.abc import Mapping

from envoy.config.core.v3.base_pb2 import DataSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import CertificateValidationContext, TlsCertificate
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.extensions.transport_sockets.tls.v3.tls_spiffe_validator_config_pb2 import SPIFFECertValidatorConfig
from google.protobuf.message import Message

_VALIDATOR = "envoy.tls.cert_validator.spiffe"


def certificate(name: str, chain: bytes, key: bytes) -> bytes:
    """Returns a secret with a certificate, its intermediates and its private key, PEM."""
    shown = TlsCertificate(certificate_chain=DataSource(inline_bytes=chain), private_key=DataSource(inline_bytes=key))
    return _serialized(Secret(name=name, tls_certificate=shown))


def roots(name: str, trusted: bytes) -> bytes:
    """Returns a secret with the root certificates of one trust domain, PEM."""
    context = CertificateValidationContext(trusted_ca=DataSource(inline_bytes=trusted))
    return _serialized(Secret(name=name, validation_context=context))


def roots_of_domains(name: str, trusted: Mapping[str, bytes]) -> bytes:
    """Returns a secret with the root certificates of several trust domains, PEM, by their names.

    Those of one vouch for no identity of another: Envoy's validator of SPIFFE IDs looks at both.
    """
    config = SPIFFECertValidatorConfig(
        trust_domains=[
            SPIFFECertValidatorConfig.TrustDomain(name=domain, trust_bundle=DataSource(inline_bytes=bundle))
            for domain, bundle in sorted(trusted.items())
        ]
    )
    validator = TypedExtensionConfig(name=_VALIDATOR)
    validator.typed_config.Pack(config)
    return _serialized(
        Secret(name=name, validation_context=CertificateValidationContext(custom_validator_config=validator))
    )


def _serialized(secret: Message) -> bytes:
    return secret.SerializeToString(deterministic=True)
