"""The dead letters of subscriptions: looked at, brought back, removed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from sira.bus.v1.dead_letter_pb2 import DeadLetter
from sira.bus.v1.dead_letter_service_pb2 import (
    DeadLetterFilter,
    GetDeadLetterRequest,
    ListDeadLettersRequest,
    PurgeDeadLettersRequest,
    PurgeDeadLettersResponse,
    RedriveDeadLettersRequest,
    RedriveDeadLettersResponse,
)

from sira_client.bus.names import subscription_name, topic_name

if TYPE_CHECKING:  # these are only in the stubs
    from sira.bus.v1.dead_letter_service_pb2_grpc import DeadLetterServiceAsyncStub


class DeadLetters:
    """Reads, redrives and purges dead letters. Subscriptions are named by their ids or resource names.

    Every method raises ValueError where a name is malformed, and SiraError where the kernel refuses or is not there:
    SubscriptionNotFoundError if there is no such subscription.

    Args:
        rpcs: the kernel's RPCs, with default deadlines and typed errors.
        namespace: of ids.
    """

    def __init__(self, rpcs: DeadLetterServiceAsyncStub, namespace: str) -> None:
        self._rpcs = rpcs
        self._namespace = namespace

    async def list(self, subscription: str, which: DeadLetterFilter | None = None) -> AsyncIterator[DeadLetter]:
        """Yields the dead letters of a subscription, the oldest first, without their payloads.

        Args:
            subscription: id.
            which: None for all.
        """
        request = ListDeadLettersRequest(parent=self._name(subscription), filter=which, page_size=1000)
        while True:
            response = await self._rpcs.ListDeadLetters(request)
            for letter in response.dead_letters:
                yield letter
            if not response.next_page_token:
                return
            request.page_token = response.next_page_token

    async def get(self, subscription: str, letter: int) -> DeadLetter:
        """Returns a dead letter, with its payload.

        Args:
            subscription: id.
            letter: id: the last segment of its name.

        Raises:
            DeadLetterNotFoundError: it was redriven or purged, or never was.
        """
        request = GetDeadLetterRequest(name=f"{self._name(subscription)}/deadLetters/{letter}")
        return (await self._rpcs.GetDeadLetter(request)).dead_letter

    async def redrive(
        self,
        subscription: str,
        which: DeadLetterFilter | None = None,
        *,
        topic: str = "",
        limit: int = 0,
        max_redrives: int = 0,
        dry_run: bool = False,
    ) -> RedriveDeadLettersResponse:
        """Delivers dead letters again, and returns how many.

        Args:
            subscription: id.
            which: None for all.
            topic: where to publish them, for all its subscriptions. Empty for back to the subscription alone.
            limit: how many at most, the oldest first; 0 for 1,000.
            max_redrives: leave those that were redriven this often already; 0 for 3.
            dry_run: change nothing.
        """
        request = RedriveDeadLettersRequest(
            parent=self._name(subscription),
            filter=which,
            dry_run=dry_run,
            topic=topic and topic_name(topic, self._namespace),
            limit=limit,
            max_redrives=max_redrives,
        )
        return await self._rpcs.RedriveDeadLetters(request)

    async def purge(
        self, subscription: str, which: DeadLetterFilter | None = None, *, limit: int = 0, dry_run: bool = False
    ) -> PurgeDeadLettersResponse:
        """Deletes dead letters for good, and returns how many.

        Args:
            subscription: id.
            which: None for all.
            limit: how many at most, the oldest first; 0 for 1,000.
            dry_run: change nothing.
        """
        request = PurgeDeadLettersRequest(parent=self._name(subscription), filter=which, dry_run=dry_run, limit=limit)
        return await self._rpcs.PurgeDeadLetters(request)

    def _name(self, subscription: str) -> str:
        return subscription_name(subscription, self._namespace)
