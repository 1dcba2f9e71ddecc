"""Client of Sira: register, resolve, watch and call gRPC services, publish and consume records."""

from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import GrpcCheck, HealthCheck, HealthState, HttpCheck, TcpCheck, TtlCheck
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.resolver_service_pb2 import ResolvedEndpoint
from sira.registry.v1.service_pb2 import Service

from sira_client.balanced import BalancedChannel, HashKey
from sira_client.client import Client
from sira_client.clock import Clock, SystemClock
from sira_client.connecting import connect, connect_insecure
from sira_client.errors import (
    AbortedError,
    AlreadyExistsError,
    DataLossError,
    DeadLetterNotFoundError,
    DeadlineExceededError,
    FailedPreconditionError,
    FencingTokenStaleError,
    InternalError,
    InvalidArgumentError,
    LockHeldError,
    LockLostError,
    LockNotFoundError,
    NotFoundError,
    OutOfRangeError,
    PermissionDeniedError,
    ResourceExhaustedError,
    SequenceGapError,
    SiraError,
    SubscriptionNotFoundError,
    TopicFullError,
    TopicNotFoundError,
    UnauthenticatedError,
    UnavailableError,
)
from sira_client.identity import Identity, IdentityAgent, IdentityFiles, IdentitySource
from sira_client.lease import RegistrationState
from sira_client.registration import Registration
from sira_client.routing import CallInfo, RetryPolicy
from sira_client.settings import Settings
from sira_client.status_details import FieldViolation
from sira_client.tls import TlsFiles
from sira_client.view import ServiceView

__all__ = [
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
