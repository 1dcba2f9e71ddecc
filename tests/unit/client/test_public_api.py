from __future__ import annotations

import inspect
import subprocess
import sys

import sira_client
import sira_client.balancing
import sira_client.bus
import sira_client.locks

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
    "FencingTokenStaleError",
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
    "LockHeldError",
    "LockLostError",
    "LockNotFoundError",
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

BUS = [
    "Ack",
    "Attributes",
    "Batch",
    "Bus",
    "CloudEvent",
    "Compaction",
    "Compression",
    "Consumer",
    "DeadLetter",
    "DeadLetterFilter",
    "DeadLetterReason",
    "DeadLetters",
    "Durability",
    "Mode",
    "PartitionOffset",
    "Position",
    "Producer",
    "ReadRecord",
    "Record",
    "Retention",
    "RetryPolicy",
    "Subscription",
    "SubscriptionStatus",
    "Subscriptions",
    "TailStart",
    "Topic",
    "TopicLimits",
    "Topics",
    "TraceContext",
    "WhenFull",
]

LOCKS = ["Election", "Leader", "Leadership", "Lock", "LockState", "Locks"]

RECORD = [
    "key",
    "id",
    "headers",
    "content_type",
    "cloud_event",
    "event_time",
    "ttl",
    "deliver_at",
]

SIGNATURES = {
    "connect": ["address", "tls", "identity", "bearer", "server_name", "settings"],
    "connect_insecure": ["address", "settings"],
    "Client.bus": ["self", "namespace"],
    "Client.locks": ["self", "namespace"],
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
    "bus.Batch.ack": ["self"],
    "bus.Batch.extend": ["self", "seconds"],
    "bus.Batch.keys": ["self"],
    "bus.Batch.nak": ["self", "delay", "detail"],
    "bus.Batch.offsets": ["self"],
    "bus.Batch.payloads": ["self"],
    "bus.Batch.terminate": ["self", "detail"],
    "bus.Bus.producer": [
        "self",
        "topic",
        "linger",
        "max_batch_records",
        "max_batch_bytes",
        "compression",
        "max_in_flight",
        "buffer_bytes",
        "timeout",
    ],
    "bus.Bus.publish": ["self", "topic", "payload", *RECORD],
    "bus.Bus.subscribe": [
        "self",
        "subscription",
        "consumer",
        "concurrency",
        "prefetch_records",
        "prefetch_bytes",
        "sync_acks",
        "lease",
    ],
    "bus.Bus.subscribe_batches": [
        "self",
        "subscription",
        "consumer",
        "prefetch_records",
        "prefetch_bytes",
        "sync_acks",
        "lease",
    ],
    "bus.Bus.tail": ["self", "topics", "start", "consumer", "prefetch_records", "prefetch_bytes"],
    "bus.Consumer.close": ["self"],
    "bus.DeadLetters.get": ["self", "subscription", "letter"],
    "bus.DeadLetters.list": ["self", "subscription", "which"],
    "bus.DeadLetters.purge": ["self", "subscription", "which", "limit", "dry_run"],
    "bus.DeadLetters.redrive": ["self", "subscription", "which", "topic", "limit", "max_redrives", "dry_run"],
    "bus.Producer.close": ["self"],
    "bus.Producer.flush": ["self"],
    "bus.Producer.post": ["self", "payload", *RECORD],
    "bus.Producer.post_many": ["self", "payloads", "keys", "ids"],
    "bus.Producer.send": ["self", "payload", *RECORD],
    "bus.Producer.send_many": ["self", "payloads", "keys", "ids"],
    "bus.Record.ack": ["self"],
    "bus.Record.extend": ["self", "seconds"],
    "bus.Record.nak": ["self", "delay", "detail"],
    "bus.Record.terminate": ["self", "detail"],
    "bus.Subscriptions.create": [
        "self",
        "subscription",
        "topics",
        "mode",
        "start",
        "ack_timeout",
        "retry",
        "max_outstanding",
        "description",
    ],
    "bus.Subscriptions.delete": ["self", "subscription", "force", "etag"],
    "bus.Subscriptions.get": ["self", "subscription"],
    "bus.Subscriptions.lag": ["self", "subscription"],
    "bus.Subscriptions.list": ["self"],
    "bus.Subscriptions.pause": ["self", "subscription"],
    "bus.Subscriptions.resume": ["self", "subscription"],
    "bus.Subscriptions.seek": ["self", "subscription", "position"],
    "bus.Subscriptions.update": [
        "self",
        "subscription",
        "ack_timeout",
        "retry",
        "max_outstanding",
        "description",
        "etag",
    ],
    "bus.Topics.create": [
        "self",
        "topic",
        "partitions",
        "durability",
        "retention",
        "compaction",
        "limits",
        "deduplication_window",
        "description",
    ],
    "bus.Topics.delete": ["self", "topic", "force", "etag"],
    "bus.Topics.get": ["self", "topic"],
    "bus.Topics.list": ["self", "pattern"],
    "bus.Topics.update": [
        "self",
        "topic",
        "retention",
        "compaction",
        "limits",
        "deduplication_window",
        "description",
        "etag",
    ],
    "bus.Topics.verify": ["self", "topic"],
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
    "locks.Election.campaign": ["self", "value", "label", "ttl", "wait"],
    "locks.Election.leader": ["self"],
    "locks.Election.observe": ["self"],
    "locks.Leadership.close": ["self"],
    "locks.Leadership.proclaim": ["self", "value"],
    "locks.Lock.close": ["self"],
    "locks.Locks.election": ["self", "name"],
    "locks.Locks.get": ["self", "name"],
    "locks.Locks.list": ["self"],
    "locks.Locks.lock": ["self", "name", "ttl", "wait", "label"],
    "locks.Locks.semaphore": ["self", "name", "capacity", "permits", "ttl", "wait", "label"],
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


def test_the_public_names_of_the_bus_are_these() -> None:
    assert sira_client.bus.__all__ == BUS == sorted(BUS)
    assert all(hasattr(sira_client.bus, name) for name in BUS)


def test_the_public_names_of_the_locks_are_these() -> None:
    assert sira_client.locks.__all__ == LOCKS == sorted(LOCKS)
    assert all(hasattr(sira_client.locks, name) for name in LOCKS)


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
