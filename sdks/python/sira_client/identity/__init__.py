"""Identities: certificate, key and trust bundle of this program, and where they come from as they are renewed."""

from sira_client.identity.agent import IdentityAgent
from sira_client.identity.files import IdentityFiles
from sira_client.identity.identity import Identity
from sira_client.identity.source import IdentitySource

__all__ = ["Identity", "IdentityAgent", "IdentityFiles", "IdentitySource"]
