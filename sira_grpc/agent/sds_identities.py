"""What the Envoys on this host may have of what the agent holds: as the processes that they are."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager

from sira_grpc.agent import sds_messages
from sira_grpc.agent.failures import Refused, Unready
from sira_grpc.agent.held_identity import HeldIdentity
from sira_grpc.agent.holdings import Holdings
from sira_grpc.agent.sds import ALL_ROOTS, DEFAULT, IDENTITY, ROOTS, TRUST
from sira_grpc.agent.sds_stream import Offer
from sira_grpc.agent.workload_api import Entitled, identities_of, ready
from sira_grpc.errors import PermissionDenied
from sira_grpc.rpc.call import Context
from sira_grpc.svid.spiffe_id import SCHEME
from sira_grpc.watch import Subscriber


class EntitledSecrets:
    """Opens what the process behind a call is entitled to.

    Args:
        entitled: see workload_api.Entitled.
        holdings: the identities, and what is trusted.
    """

    def __init__(self, entitled: Entitled, holdings: Holdings) -> None:
        self._entitled = entitled
        self._holdings = holdings

    @asynccontextmanager
    async def open(self, context: Context) -> AsyncIterator[HeldSecrets]:
        """See sds.Open."""
        with ExitStack() as stack:
            held = []
            for identity, dns_names in identities_of(self._entitled(context)):
                lease = self._holdings.lease(identity, dns_names)
                stack.callback(lease.close)
                held.append(lease.held)
            await ready(held, self._holdings.streams)
            subscriber = self._holdings.streams.subscribe(0)
            stack.callback(subscriber.close)
            yield HeldSecrets(held, self._holdings, subscriber)


class HeldSecrets:
    """Certificates by their SPIFFE IDs, and roots by the SPIFFE IDs of their trust domains; see sds.Secrets.

    The first identity is also `identity` and `default`, and the own trust domain `trust` and `ROOTCA`.
    """

    defaults: tuple[str, ...] = (DEFAULT, ROOTS)

    def __init__(self, held: Sequence[HeldIdentity], holdings: Holdings, subscriber: Subscriber) -> None:
        self._held = held
        self._holdings = holdings
        self._subscriber = subscriber
        self._revision = 0

    def offer(self) -> Offer:
        """See sds.Secrets.

        Raises:
            PermissionDenied: the kernel gives none of the identities.
        """
        self._revision = self._holdings.streams.revision
        granted = [held for held in self._held if held.svid is not None or not isinstance(held.trouble, Refused)]
        if not granted:
            first = self._held[0]
            raise PermissionDenied(f"the kernel does not vouch for {first.identity}: {first.trouble}")
        offer = {str(held.identity): _certificate(str(held.identity), held) for held in granted}
        offer.update({name: _certificate(name, granted[0]) for name in (IDENTITY, DEFAULT)})
        return {**offer, **self._roots()}

    async def changed(self) -> None:
        """See sds.Secrets."""
        self._subscriber.sent(self._revision)
        await self._subscriber.wait()
        if self._holdings.streams.closed:
            raise Unready("the agent is stopping")

    def _roots(self) -> Offer:
        trust = self._holdings.trust
        domains = {trust.trust_domain: trust.roots_pem, **trust.federated_pem}
        return {
            **{SCHEME + domain: sds_messages.roots(SCHEME + domain, roots) for domain, roots in domains.items()},
            **{name: sds_messages.roots(name, trust.roots_pem) for name in (TRUST, ROOTS)},
            ALL_ROOTS: sds_messages.roots_of_domains(ALL_ROOTS, domains),
        }


def _certificate(name: str, held: HeldIdentity) -> bytes | None:
    return sds_messages.certificate(name, held.svid.chain_pem, held.svid.key_pem) if held.svid is not None else None
