"""The keyring: the authorities of the view with their keys, unsealed when they are first needed."""

from __future__ import annotations

from sira_grpc.identity.authority import Authority, unseal
from sira_grpc.identity.sealing import Sealer
from sira_grpc.identity.view import IdentityView


class Keyring:
    """Authorities by id.

    Args:
        view: of the store.
        sealer: opens their keys.
    """

    def __init__(self, view: IdentityView, sealer: Sealer) -> None:
        self._view = view
        self._sealer = sealer
        self._unsealed: dict[str, tuple[int, Authority]] = {}

    def get(self, authority: str) -> Authority:
        """Returns an authority.

        Raises:
            KeyError: there is none of that id.
            ConfigError: its keys were sealed with another key.
        """
        stored = self._view.authorities[authority]
        known = self._unsealed.get(authority)
        if known is None or known[0] != stored.revision:
            known = self._unsealed[authority] = (stored.revision, unseal(authority, stored.value, self._sealer))
        for gone in self._unsealed.keys() - self._view.authorities.keys():  # keys in the clear must not outlive it
            del self._unsealed[gone]
        return known[1]

    def issuing(self) -> Authority:
        """Returns the authority that issues now."""
        assert self._view.domain is not None, "it is founded before anything is issued"
        return self.get(self._view.domain.value.issuing)

    def shown(self) -> Authority:
        """Returns the authority that the kernel itself shows a certificate of: the oldest of the bundle.

        While a root is exchanged everybody trusts it, also who has missed that there is a new one.
        """
        return self.trusted()[0]

    def trusted(self) -> list[Authority]:
        """Returns the authorities of the bundle, the oldest first."""
        assert self._view.domain is not None, "it is founded before anything is issued"
        return [self.get(authority) for authority in self._view.domain.value.trusted]
