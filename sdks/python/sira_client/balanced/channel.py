"""A channel to a service, used like any grpc.aio.Channel."""

from __future__ import annotations

import grpc

from sira_client.balanced.clusters import Clusters
from sira_client.balanced.policy import PolicySelector
from sira_client.routing import RetryPolicy, RoutedChannel


class BalancedChannel(RoutedChannel):
    """Spreads calls over the endpoints of a service, as its traffic policy says, and follows it as it changes.

    No new call goes to an endpoint that drains, is not healthy or is gone; calls that are under way there finish.
    Errors of calls are those of the service, as grpc.aio.AioRpcError; where nobody could be found to call, it is the
    subclass UnavailableError.

    Args:
        clusters: where the calls may go; the channel owns them.
        selector: says what the policy of the service has in mind for each.
        retry: when a unary call goes again to another endpoint.
        default_timeout: seconds that a unary call may take where its caller does not say; None for no limit.
    """

    def __init__(
        self, clusters: Clusters, selector: PolicySelector, *, retry: RetryPolicy, default_timeout: float | None
    ) -> None:
        super().__init__(clusters.main, retry=retry, default_timeout=default_timeout, selector=selector)
        self._clusters = clusters
        self._balancer = clusters.main
        self._selector = selector
        self._closed = False

    @property
    def closed(self) -> bool:
        """Whether the channel is closed."""
        return self._closed

    def get_state(self, try_to_connect: bool = False) -> grpc.ChannelConnectivity:
        """READY when a call would find an endpoint; TRANSIENT_FAILURE when it would fail; else CONNECTING."""
        if self._closed:
            return grpc.ChannelConnectivity.SHUTDOWN
        return self._selector.state

    async def wait_for_state_change(self, last_observed_state: grpc.ChannelConnectivity) -> None:
        """See grpc.aio.Channel."""
        while self.get_state() is last_observed_state:
            await self._selector.changed()

    async def channel_ready(self) -> None:
        """Waits until a call would find an endpoint.

        Raises:
            grpc.aio.UsageError: the channel was closed.
        """
        while self.get_state() is not grpc.ChannelConnectivity.READY:
            if self._closed:
                raise grpc.aio.UsageError("Channel is closed.")
            await self._selector.changed()

    async def close(self, grace: float | None = None) -> None:
        """Takes no more calls, lets those under way finish within the grace in seconds, and cancels the rest."""
        await super().close(grace)
        if not self._closed:
            self._closed = True
            self._selector.close()
            await self._clusters.close()
