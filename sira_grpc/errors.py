"""The errors that the domains raise, each with a machine-readable reason; knows nothing of gRPC."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from sira.errors.v1.error_reason_pb2 import ErrorReason


@dataclass(frozen=True, slots=True)
class FieldViolation:
    """One field that breaks one rule."""

    field: str
    rule: str


class SiraError(Exception):
    """An error with a reason that a caller can act on.

    Args:
        message: for people; names what was asked and what rule it met. Sent to the caller.
        metadata: further machine-readable facts, such as the resource's name.
        retry_after: seconds after which trying again is worthwhile; None where it is not known to be.
    """

    reason: ClassVar[ErrorReason.ValueType] = ErrorReason.ERROR_REASON_INTERNAL
    of_state: ClassVar[bool] = False
    """It says how something is that is stored: a member whose view is behind may be wrong about that."""

    def __init__(
        self, message: str, *, metadata: Mapping[str, str] | None = None, retry_after: float | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after = retry_after


class InvalidField(SiraError):
    """Fields of the request break a rule."""

    reason = ErrorReason.ERROR_REASON_INVALID_FIELD

    def __init__(self, violations: Sequence[FieldViolation]) -> None:
        super().__init__("; ".join(f"{v.field}: {v.rule}" for v in violations))
        self.violations = tuple(violations)


class InvalidFilter(SiraError):
    """A filter cannot be read."""

    reason = ErrorReason.ERROR_REASON_INVALID_FILTER


class InvalidPageToken(SiraError):
    """A page token is not one of ours, or belongs to another query."""

    reason = ErrorReason.ERROR_REASON_INVALID_PAGE_TOKEN


class InvalidFieldMask(SiraError):
    """A field mask names a field that is not there or may not be written."""

    reason = ErrorReason.ERROR_REASON_INVALID_FIELD_MASK


class NotFound(SiraError):
    """A resource is not there. Subclasses say which kind."""

    of_state = True


class NamespaceNotFound(NotFound):
    """There is no such namespace."""

    reason = ErrorReason.ERROR_REASON_NAMESPACE_NOT_FOUND


class ServiceNotFound(NotFound):
    """There is no such service."""

    reason = ErrorReason.ERROR_REASON_SERVICE_NOT_FOUND


class EndpointNotFound(NotFound):
    """There is no such endpoint."""

    reason = ErrorReason.ERROR_REASON_ENDPOINT_NOT_FOUND


class LeaseNotFound(NotFound):
    """The lease expired, was revoked, or never was."""

    reason = ErrorReason.ERROR_REASON_LEASE_NOT_FOUND


class AlreadyExists(SiraError):
    """A resource of that name is there."""

    reason = ErrorReason.ERROR_REASON_ALREADY_EXISTS
    of_state = True


class EndpointHeld(SiraError):
    """An endpoint of that name lives under another lease that is not suspect."""

    reason = ErrorReason.ERROR_REASON_ENDPOINT_HELD
    of_state = True


class LeaseNotYours(SiraError):
    """The caller's lease is not the one that the endpoint lives under."""

    reason = ErrorReason.ERROR_REASON_LEASE_NOT_YOURS
    of_state = True


class EtagMismatch(SiraError):
    """The resource was written since it was read."""

    reason = ErrorReason.ERROR_REASON_ETAG_MISMATCH
    of_state = True


class Conflict(SiraError):
    """Another write came in between."""

    reason = ErrorReason.ERROR_REASON_CONFLICT


class LeaseSuperseded(SiraError):
    """Another stream attached to the lease."""

    reason = ErrorReason.ERROR_REASON_LEASE_SUPERSEDED


class NotEmpty(SiraError):
    """A resource that is to be deleted holds others."""

    reason = ErrorReason.ERROR_REASON_NOT_EMPTY
    of_state = True


class NoTtlCheck(SiraError):
    """Health was reported for an endpoint that the kernel checks itself."""

    reason = ErrorReason.ERROR_REASON_NO_TTL_CHECK
    of_state = True


class RevisionCompacted(SiraError):
    """The history after a revision is gone."""

    reason = ErrorReason.ERROR_REASON_REVISION_COMPACTED


class RevisionAhead(SiraError):
    """A revision is ahead of the store."""

    reason = ErrorReason.ERROR_REASON_REVISION_AHEAD


class LimitExceeded(SiraError):
    """A caller is over a limit."""

    reason = ErrorReason.ERROR_REASON_LIMIT_EXCEEDED


class Unauthenticated(SiraError):
    """The caller has no identity where one is asked for."""

    reason = ErrorReason.ERROR_REASON_UNAUTHENTICATED


class PermissionDenied(SiraError):
    """The caller may not do this."""

    reason = ErrorReason.ERROR_REASON_PERMISSION_DENIED


class JoinTokenInvalid(SiraError):
    """A join token is unknown, expired or used up, or its secret is wrong."""

    reason = ErrorReason.ERROR_REASON_JOIN_TOKEN_INVALID
    of_state = True


class CredentialInvalid(SiraError):
    """The certificate or token of the caller is not one that counts here."""

    reason = ErrorReason.ERROR_REASON_CREDENTIAL_INVALID


class CredentialExpired(SiraError):
    """The certificate or token of the caller has expired, or is not valid yet."""

    reason = ErrorReason.ERROR_REASON_CREDENTIAL_EXPIRED


class CredentialRevoked(SiraError):
    """The certificate or token of the caller was revoked."""

    reason = ErrorReason.ERROR_REASON_CREDENTIAL_REVOKED


class IdentityNotAllowed(SiraError):
    """What the caller came with does not cover the identity that it asks for."""

    reason = ErrorReason.ERROR_REASON_IDENTITY_NOT_ALLOWED


class JoinTokenNotFound(NotFound):
    """There is no such join token."""

    reason = ErrorReason.ERROR_REASON_JOIN_TOKEN_NOT_FOUND


class TrustDomainNotFound(NotFound):
    """There is no bundle of that trust domain."""

    reason = ErrorReason.ERROR_REASON_TRUST_DOMAIN_NOT_FOUND


class RotationUnderWay(SiraError):
    """A rotation is under way already, or is in another stage."""

    reason = ErrorReason.ERROR_REASON_ROTATION_UNDER_WAY
    of_state = True


class NoRotation(SiraError):
    """No rotation is under way."""

    reason = ErrorReason.ERROR_REASON_NO_ROTATION
    of_state = True


class BundleUnavailable(SiraError):
    """The bundle endpoint of another trust domain did not answer with its bundle."""

    reason = ErrorReason.ERROR_REASON_BUNDLE_UNAVAILABLE


class TopicNotFound(NotFound):
    """There is no such topic."""

    reason = ErrorReason.ERROR_REASON_TOPIC_NOT_FOUND


class SubscriptionNotFound(NotFound):
    """There is no such subscription."""

    reason = ErrorReason.ERROR_REASON_SUBSCRIPTION_NOT_FOUND


class DeadLetterNotFound(NotFound):
    """The dead letter was redriven or purged, or never was."""

    reason = ErrorReason.ERROR_REASON_DEAD_LETTER_NOT_FOUND


class SequenceGap(SiraError):
    """A producer's sequence skips numbers, or cuts across a frame that was sent before."""

    reason = ErrorReason.ERROR_REASON_SEQUENCE_GAP


class TopicFull(SiraError):
    """A topic that refuses when it is full is full."""

    reason = ErrorReason.ERROR_REASON_TOPIC_FULL


class NotOwner(SiraError):
    """Another member serves this, and could not be reached or has just changed."""

    reason = ErrorReason.ERROR_REASON_NOT_OWNER


class LockNotFound(NotFound):
    """Nobody holds the lock or waits for it."""

    reason = ErrorReason.ERROR_REASON_LOCK_NOT_FOUND


class LockHeld(SiraError):
    """The lock is held by others, and it was not waited for long enough."""

    reason = ErrorReason.ERROR_REASON_LOCK_HELD
    of_state = True


class LockLost(SiraError):
    """A key opens nothing any more: its TTL has passed, or it was released."""

    reason = ErrorReason.ERROR_REASON_LOCK_LOST
    of_state = True


class LockCapacityDiffers(SiraError):
    """Those who hold the lock, or wait for it, say another capacity."""

    reason = ErrorReason.ERROR_REASON_LOCK_CAPACITY_DIFFERS
    of_state = True


class FencingTokenStale(SiraError):
    """The fencing token that came with a write is not that of a holder any more; nothing was changed."""

    reason = ErrorReason.ERROR_REASON_FENCING_TOKEN_STALE
    of_state = True


class PolicyNotSupported(SiraError):
    """A kind of client that is connected would reject what the policy of a service makes of its resources."""

    reason = ErrorReason.ERROR_REASON_POLICY_NOT_SUPPORTED


class XdsClientNotFound(NotFound):
    """No client that is connected over xDS matches."""

    reason = ErrorReason.ERROR_REASON_XDS_CLIENT_NOT_FOUND


class KernelStopping(SiraError):
    """The kernel is on its way out."""

    reason = ErrorReason.ERROR_REASON_KERNEL_STOPPING


class StoreUnavailable(SiraError):
    """The store cannot write; nothing was changed."""

    reason = ErrorReason.ERROR_REASON_STORE_UNAVAILABLE


class StoreCorrupt(SiraError):
    """The store's file is damaged."""

    reason = ErrorReason.ERROR_REASON_STORE_CORRUPT


class ConfigError(SiraError):
    """The configuration cannot be used; the message names the key and the rule."""
