"""Which certificates of each authority still count: not expired, not revoked, not renewed since."""

from __future__ import annotations

import heapq
from collections import defaultdict

from sira.identity.v1.certificate_pb2 import Certificate


class LiveCertificates:
    """Counts as certificates are issued, end and expire; each change costs O(log n)."""

    def __init__(self) -> None:
        self._live: dict[str, set[str]] = defaultdict(set)
        self._expiries: list[tuple[int, str, str]] = []

    def note(self, certificate: Certificate, expire_ns: int) -> None:
        """Takes in a certificate as it is now."""
        serial, authority = certificate.serial, certificate.authority
        if certificate.superseded_by or certificate.HasField("revoke_time"):
            self._live[authority].discard(serial)
        elif serial not in self._live[authority]:
            self._live[authority].add(serial)
            heapq.heappush(self._expiries, (expire_ns, authority, serial))

    def count(self, now_ns: int, authority: str = "") -> int:
        """How many count, of one authority or of all."""
        self._expire(now_ns)
        if authority:
            return len(self._live.get(authority, ()))
        return sum(len(serials) for serials in self._live.values())

    def _expire(self, now_ns: int) -> None:
        while self._expiries and self._expiries[0][0] <= now_ns:
            _, authority, serial = heapq.heappop(self._expiries)
            self._live[authority].discard(serial)
