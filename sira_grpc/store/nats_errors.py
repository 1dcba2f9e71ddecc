"""What can go wrong between a member and its NATS cluster, and what that means to the callers of the store."""

from __future__ import annotations

from sira_grpc.errors import StoreCorrupt, StoreUnavailable

RETRY_AFTER = 1.0
"""Seconds after which a write to a store that is lost is worth another try."""

WRONG_LAST_SEQUENCE = (10071, 10164)
NO_MESSAGE = 10037
STREAM_NOT_FOUND = 10059
STREAM_NAME_IN_USE = 10058
REPLICAS_NOT_SUPPORTED = 10074
NO_SUITABLE_PEERS = 10005
JETSTREAM_NOT_ENABLED = (10039, 10076)


class Lost(Exception):
    """No answer came: the connection went, nobody listens, or time is up.

    Args:
        what: for people.
        sent: whether what was asked may be carried out all the same.
    """

    def __init__(self, what: str, *, sent: bool) -> None:
        super().__init__(what)
        self.sent = sent


class Refused(Exception):
    """The server answered with an error.

    Args:
        code: JetStream's `err_code`.
        description: its words.
    """

    def __init__(self, code: int, description: str) -> None:
        super().__init__(f"{description} ({code})")
        self.code = code
        self.description = description

    @property
    def last_sequence(self) -> int | None:
        """The sequence that was found where another was expected, if the server told."""
        _, found, number = self.description.rpartition("wrong last sequence: ")
        return int(number) if self.code == WRONG_LAST_SEQUENCE[0] and found and number.isdigit() else None


def unavailable(trouble: str, *, sent: bool = False) -> StoreUnavailable:
    """Returns the error for a store that cannot be used now; sent: whether the write may be applied all the same."""
    outcome = "unknown" if sent else "none"
    note = "; whether it was written is not known" if sent else ""
    return StoreUnavailable(
        f"the NATS store cannot be used: {trouble}{note}", metadata={"outcome": outcome}, retry_after=RETRY_AFTER
    )


def closed() -> StoreUnavailable:
    """Returns the error for a store that has been closed."""
    return StoreUnavailable("the NATS store cannot be used: it is closed", metadata={"outcome": "none"})


def corrupt(finding: str) -> StoreCorrupt:
    """Returns the error for a store that holds what was not written there, on every replica that was asked."""
    return StoreCorrupt(
        f"the NATS store is damaged ({finding}): keep a copy of the servers' store_dir, and restore it from a backup"
    )
