"""Locks, counting semaphores and leader elections, with fencing tokens."""

from sira.cluster.v1.election_service_pb2 import Leader
from sira.cluster.v1.lock_pb2 import Lock as LockState

from sira_client.locks.election import Election
from sira_client.locks.leadership import Leadership
from sira_client.locks.lock import Lock
from sira_client.locks.locks import Locks

__all__ = ["Election", "Leader", "Leadership", "Lock", "LockState", "Locks"]
