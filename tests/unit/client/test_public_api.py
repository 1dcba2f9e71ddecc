from __future__ import annotations

import inspect
import subprocess
import sys

import sira_client
import sira_client.balancing

PUBLIC = [
    "AbortedError",
    "AlreadyExistsError",
    "BalancedChannel",
    "CallInfo",
    "Client",
    "Clock",
    "DataLossError",
    "DeadLetterNotFoundError",
    "DeadlineExceededError",
    "Endpoint",
    "FailedPreconditionError",
    "FieldViolation",
    "GrpcCheck",
    "HashKey",
    "HealthCheck",
    "HealthState",
    "HttpCheck",
    "Identity",
    "IdentityAgent",
    "IdentityFiles",
    "IdentitySource",
    "InternalError",
    "InvalidArgumentError",
    "Locality",
    "NotFoundError",
    "OutOfRangeError",
    "PermissionDeniedError",
    "Registration",
    "RegistrationState",
    "ResolvedEndpoint",
    "ResourceExhaustedError",
    "RetryPolicy",
    "SequenceGapError",
    "Service",
    "ServiceView",
    "Settings",
    "SiraError",
    "SubscriptionNotFoundError",
    "SystemClock",
    "TcpCheck",
    "TlsFiles",
    "TopicFullError",
    "TopicNotFoundError",
    "TtlCheck",
    "UnauthenticatedError",
    "UnavailableError",
    "connect",
    "connect_insecure",
]

SIGNATURES = {
    "connect": ["address", "tls", "identity", "bearer", "server_name", "settings"],
    "connect_insecure": ["address", "settings"],
    "Client.register": [
        "self",
        "service",
        "port",
        "address",
        "endpoint_id",
        "locality",
        "weight",
        "metadata",
        "tags",
        "version",
        "health_check",
        "namespace",
        "ttl",
        "allow_missing_service",
        "timeout",
        "drain_timeout",
    ],
    "Client.resolve": [
        "self",
        "service",
        "namespace",
        "locality",
        "client_id",
        "hash_key",
        "include_unhealthy",
        "limit",
    ],
    "Client.watch": ["self", "service", "namespace"],
    "Client.channel": [
        "self",
        "service",
        "namespace",
        "locality",
        "client_id",
        "hash_key",
        "retry",
        "default_timeout",
        "credentials",
        "mtls",
        "options",
        "interceptors",
    ],
    "Identity": ["svid", "key", "bundle", "spiffe_id", "federated"],
    "Identity.channel_credentials": ["self", "federated"],
    "Identity.roots": ["self", "federated"],
    "Identity.server_configuration": ["self", "federated"],
    "IdentityAgent": ["socket", "identity", "timeout", "settings"],
    "IdentityAgent.fetch_jwt": ["self", "audience", "identity"],
    "IdentityFiles": ["directory", "timeout", "settings"],
    "IdentitySource": ["timeout", "settings"],
    "IdentitySource.changed": ["self", "known"],
    "IdentitySource.channel_credentials": ["self", "federated"],
    "IdentitySource.follow": ["self"],
    "IdentitySource.server_credentials": ["self", "require_client_certificate", "federated"],
    "Registration.changed": ["self"],
    "Registration.close": ["self"],
    "Registration.drain": ["self", "wait", "cause"],
    "Registration.report_health": ["self", "state", "cause"],
    "Registration.report_load": ["self", "in_flight", "utilization"],
    "Registration.update": ["self", "weight", "metadata", "tags", "version"],
    "Registration.wait_for": ["self", "states"],
    "RetryPolicy": ["max_attempts", "idempotent"],
    "Settings": ["default_timeout", "first_backoff", "longest_backoff", "random", "clock"],
    "TlsFiles": ["ca", "cert", "key"],
}


def test_the_public_names_are_these_and_sorted() -> None:
    assert sira_client.__all__ == PUBLIC == sorted(PUBLIC)
    assert all(hasattr(sira_client, name) for name in PUBLIC)


def test_the_public_signatures_are_these() -> None:
    for path, expected in SIGNATURES.items():
        found: object = sira_client
        for part in path.split("."):
            found = getattr(found, part)
        assert callable(found)
        assert list(inspect.signature(found).parameters) == expected, path


def test_the_public_names_of_the_balancing_are_these() -> None:
    assert sira_client.balancing.__all__ == [
        "Candidate",
        "Picker",
        "Rendezvous",
        "make_picker",
        "order",
        "ramp_end_ns",
        "select",
    ]


def test_the_client_is_light() -> None:
    """It brings in the generated code, and otherwise nothing that grpc and protobuf do not bring in themselves."""
    code = """
import sys, grpc.aio, google.protobuf.message_factory
before = {name.partition(".")[0] for name in sys.modules}
import sira_client
print(*{name.partition(".")[0] for name in sys.modules} - before - sys.stdlib_module_names)
"""
    run = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert set(run.stdout.split()) == {"sira", "sira_client"}
