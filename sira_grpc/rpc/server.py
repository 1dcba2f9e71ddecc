"""The gRPC server: its addresses, its servicers behind the edge, and its life from NOT_SERVING to stopped."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from grpc import aio
from grpc_channelz.v1 import channelz, channelz_pb2_grpc
from grpc_health.v1 import health_pb2_grpc
from grpc_reflection.v1alpha import reflection, reflection_pb2_grpc

from sira_grpc.background import Background
from sira_grpc.clock import Clock
from sira_grpc.config import KernelConfig
from sira_grpc.errors import ConfigError
from sira_grpc.identity.callers import CallerVerifier
from sira_grpc.identity.member import Credentials
from sira_grpc.rpc import health_servicer
from sira_grpc.rpc.doors import Doors
from sira_grpc.rpc.edge import Edge
from sira_grpc.rpc.forwarding import Forwarding
from sira_grpc.rpc.health_servicer import HealthServicer
from sira_grpc.rpc.interceptors import (
    AcceptForwarded,
    AccessRules,
    AnonymousRules,
    Authenticate,
    AuthenticateSvids,
    Authorize,
    Authorizer,
    Drain,
    Errors,
    Expire,
    Fences,
    Fencing,
    Interceptor,
    Limits,
    Metrics,
    Validate,
    ViewAge,
)
from sira_grpc.rpc.method_names import tolerate_undecodable
from sira_grpc.rpc.options import channel_options
from sira_grpc.rpc.tracing import tracing
from sira_grpc.telemetry import Telemetry

Registration = tuple[Callable[[Any, Any], None], Any]
"""A generated `add_XServicer_to_server` and the servicer that it takes."""

_FLUSH_SECONDS = 1.0
"""How long connections may take to send what the drain left, to clients that are slow to read."""


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """What the server needs where every caller has an identity.

    Attributes:
        verifier: finds out who callers are.
        credentials: returns the kernel's own credentials as they are.
    """

    verifier: CallerVerifier
    credentials: Callable[[], Credentials]


class RpcServer:
    """Serves servicers at the configured addresses.

    `start` binds, `serving` opens the doors, `drain` closes them, `stop` ends it; `stop` drains if that was not done.

    Args:
        config: the server, limits and authorization sections are used.
        servicers: what is served, besides health, reflection and channelz.
        telemetry: where metrics and traces go.
        clock: time for rates.
        rng: varies the times at which clients are asked to come back.
        new_id: makes correlation ids.
        identity: None where callers have none, or certificates of an authority that the configuration names.
        authorizer: decides who may call what; by default the table of rules with identity, and otherwise what the
            configuration says of anonymous callers.
        forwarding: takes calls to the members that they belong to; None where there are no others.

    Must be made on the event loop that it runs on.

    Raises:
        ConfigError: the TLS files cannot be used.
    """

    def __init__(  # noqa: PLR0913  the parts of a kernel that meet here, by name
        self,
        config: KernelConfig,
        servicers: Sequence[Registration],
        *,
        telemetry: Telemetry,
        clock: Clock,
        rng: random.Random,
        new_id: Callable[[], str],
        identity: ServerIdentity | None = None,
        authorizer: Authorizer | None = None,
        forwarding: Forwarding | None = None,
    ) -> None:
        self._config = config.server
        self._doors = Doors(config.server, identity.credentials if identity is not None else None)
        self._addresses: tuple[str, ...] = ()
        self._token_addresses: tuple[str, ...] = ()
        self._background = Background()
        self._stopped = False
        self._health = HealthServicer()
        self._drain = Drain(rng, exempt=frozenset({health_servicer.SERVICE}))
        self._validate = Validate()
        self._view_age = ViewAge()
        self._fencing = Fencing()
        self._expire: Expire | None = None
        metrics = Metrics(telemetry.meter)
        interceptors: list[Interceptor] = [
            metrics,
            self._drain,
            *self._accepting(forwarding),
            *self._identifying(config, identity, authorizer),
            Limits(config.limits, clock),
            self._fencing,
            self._view_age,
            self._validate,
        ]
        self._edge = Edge(
            interceptors, Errors(new_id), metrics, forwarding.forwarder if forwarding is not None else None
        )
        self._add([*servicers, *self._own_servicers()])
        tolerate_undecodable()
        self._server = aio.server(
            handlers=[self._edge],
            interceptors=tracing(telemetry),
            options=channel_options(
                config.server,
                config.limits,
                certificate_ttl=config.identity.certificate_ttl if identity is not None else None,
            ),
        )

    @staticmethod
    def _accepting(forwarding: Forwarding | None) -> list[Interceptor]:
        """What knows the calls of other members."""
        if forwarding is None:
            return []
        return [AcceptForwarded(forwarding.signer, forwarding.methods, forwarding.identity)]

    def _identifying(
        self, config: KernelConfig, identity: ServerIdentity | None, authorizer: Authorizer | None
    ) -> list[Interceptor]:
        """What finds out who calls, and whether they may."""
        if identity is None:
            authenticate = Authenticate(certificates=config.server.tls.client_auth == "required")
            return [authenticate, Authorize(authorizer or AnonymousRules(config.anonymous_access))]
        authenticate_svids = AuthenticateSvids(identity.verifier)
        self._expire = Expire(authenticate_svids, identity.verifier)
        return [authenticate_svids, self._expire, Authorize(authorizer or AccessRules(config.anonymous_access))]

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where it listens, with the ports that the system chose. Empty before `start`."""
        return self._addresses

    @property
    def token_addresses(self) -> tuple[str, ...]:
        """Where it listens to callers without a certificate. Empty before `start`, and without identity."""
        return self._token_addresses

    @property
    def failed(self) -> asyncio.Event:
        """A task has ended that must not."""
        return self._background.failed

    async def start(self) -> None:
        """Binds every address and answers, health with NOT_SERVING.

        Raises:
            ConfigError: an address is taken or cannot be bound. Nothing is left bound.
        """
        try:
            self._addresses, self._token_addresses = self._doors.bind(self._server)
        except ConfigError:
            # gRPC lets go of what is bound only when a server that was started stops.
            self._drain.stopping = True
            await self._server.start()
            await self._server.stop(None)
            raise
        await self._server.start()
        if self._expire is not None:
            self._background.own(self._expire.run(), "expiry of callers")

    def fence(self, fences: Fences) -> None:
        """Has calls that write looked at for fencing tokens, of which `fences` makes guards."""
        self._fencing.fences = fences

    def mark_reads(self, age: Callable[[], float | None]) -> None:
        """Has reads marked with how old the views may be: seconds, None while they are current."""
        self._view_age.age = age

    def serving(self) -> None:
        """Turns health SERVING: the store and the views are ready."""
        self._health.serving()

    def available(self, there: bool) -> None:
        """Turns health SERVING while the store is there, NOT_SERVING while it is lost. Does nothing after a drain."""
        if there:
            self._health.serving()
        else:
            self._health.lost()

    async def drain(self) -> None:
        """Turns health NOT_SERVING, refuses new calls, ends streams at once and unary calls after the grace.

        Returns when no call is left.
        """
        self._health.stop(self._drain.refusal())
        await self._drain.drain(self._config.drain_grace)

    async def stop(self) -> None:
        """Drains, closes every connection and lets go of the addresses. Idempotent."""
        if self._stopped:
            return
        self._stopped = True
        if not self._drain.stopping:
            await self.drain()
        await self._background.cancel()
        await self._server.stop(_FLUSH_SECONDS)

    def _own_servicers(self) -> list[Registration]:
        return [
            (health_pb2_grpc.add_HealthServicer_to_server, self._health),
            (channelz_pb2_grpc.add_ChannelzServicer_to_server, channelz.aio.ChannelzServicer()),
        ]

    def _add(self, servicers: Sequence[Registration]) -> None:
        for add, servicer in servicers:
            add(servicer, self._edge)
        names = (*self._edge.services, reflection.SERVICE_NAME)
        reflection_pb2_grpc.add_ServerReflectionServicer_to_server(reflection.aio.ReflectionServicer(names), self._edge)
        self._health.cover(names)
        self._validate.warm(names)
