"""The signature by which a member knows a call as one that another member makes, and for whom."""

from __future__ import annotations

import hmac

from google.protobuf.message import DecodeError
from sira.cluster.internal.v1.peer_service_pb2 import ForwardedCall

from sira_grpc.clock import Clock
from sira_grpc.errors import CredentialInvalid
from sira_grpc.times import NANOS

HEADER = "sira-forwarded-bin"
"""The metadata that carries it: a ForwardedCall."""
VALID_SECONDS = 60
"""How far the clocks of two members may be apart, the way of the call included."""
MAX_BYTES = 6144
"""Longest header: two names of at most 2,048 bytes, and what else there is."""


class Signer:
    """Signs calls, and verifies the signatures of others, with HMAC-SHA256 (RFC 2104) by a secret of all members.

    A signature counts for one method and a minute. Whoever could read it on the wire could use it for other requests of
    that method in that time: so connections between members are encrypted wherever they leave the machine.

    Args:
        secret: known to members only.
        member: id of this member.
        clock: the time.

    Raises:
        ValueError: the secret has less than 16 bytes.
    """

    def __init__(self, secret: bytes, member: str, clock: Clock) -> None:
        if len(secret) < 16:
            raise ValueError("the secret of the cluster must have 16 bytes or more")
        self._secret = secret
        self._member = member
        self._clock = clock

    def sign(self, method: str, *, identity: str, caller: str) -> bytes:
        """Returns the header of a call.

        Args:
            method: `package.Service/Method`.
            identity: verified identity of the caller; empty where there is none.
            caller: whom limits count for and events name.
        """
        made = ForwardedCall(
            member=self._member,
            identity=identity,
            caller="" if caller == identity else caller,  # two long ones would not fit into the headers of a call
            method=method,
            time_ns=self._clock.time_ns(),
        )
        made.signature = self._signature(made)
        return made.SerializeToString()

    def verify(self, method: str, header: bytes) -> ForwardedCall:
        """Returns what a header says of a call to a method, with `caller` filled in.

        Raises:
            CredentialInvalid: it is not signed by a member, not for this method, or not made within a minute.
        """
        if len(header) > MAX_BYTES:
            raise _invalid("is too long")
        try:
            made = ForwardedCall.FromString(header)
        except DecodeError as error:
            raise _invalid("cannot be read") from error
        signature = made.signature
        made.ClearField("signature")
        if not hmac.compare_digest(signature, self._signature(made)):
            raise _invalid("is not signed by a member of this cluster")
        if made.method != method:
            raise _invalid(f"is for {made.method}")
        if abs(self._clock.time_ns() - made.time_ns) > VALID_SECONDS * NANOS:
            raise _invalid(f"was not made within {VALID_SECONDS} s: the clocks of the members must agree")
        made.caller = made.caller or made.identity
        return made

    def _signature(self, made: ForwardedCall) -> bytes:
        """Signs a message that has no signature yet."""
        return hmac.digest(self._secret, made.SerializeToString(deterministic=True), "sha256")


def _invalid(rule: str) -> CredentialInvalid:
    return CredentialInvalid(f"{HEADER}: {rule}", metadata={"header": HEADER})
