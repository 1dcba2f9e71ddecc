"""Members among each other: calls go to the member that they belong to, and members ask each other.

Import from here.
"""

from __future__ import annotations

from sira_grpc.rpc.forwarding.forwarding import Forwarding
from sira_grpc.rpc.forwarding.peer_credentials import MemberTrust, PeerIdentity
from sira_grpc.rpc.forwarding.peers import Addresses, Members

__all__ = ["Addresses", "Forwarding", "MemberTrust", "Members", "PeerIdentity"]
