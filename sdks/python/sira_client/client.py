"""The client: everything that a program says to a kernel."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from math import inf
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypeVar

import grpc
from sira.identity.v1.authority_service_pb2_grpc import AuthorityServiceStub
from sira.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
from sira.kernel.v1.kernel_service_pb2_grpc import KernelServiceStub
from sira.registry.v1.endpoint_pb2 import Endpoint
from sira.registry.v1.health_check_pb2 import HealthCheck
from sira.registry.v1.locality_pb2 import Locality
from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
from sira.registry.v1.resolver_service_pb2 import ResolvedEndpoint, ResolveRequest
from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceStub

from sira_client.access import Access, endpoint_security
from sira_client.balanced import BalancedChannel, HashKey
from sira_client.balanced.breakers import Breakers
from sira_client.balanced.build import World, build
from sira_client.dialing import ENDPOINT, KERNEL, MEMBER, Dial, Security, dialer
from sira_client.identity import IdentitySource
from sira_client.link import KernelChannel, Link
from sira_client.names import DEFAULT_NAMESPACE, derived_id, endpoint_name, service_name
from sira_client.owned import Owned
from sira_client.registration import Registration, Terms
from sira_client.routing import RetryPolicy
from sira_client.settings import Settings
from sira_client.view import ServiceView
from sira_client.watch import follow

if TYPE_CHECKING:  # these are only in the stubs
    from sira.identity.v1.authority_service_pb2_grpc import AuthorityServiceAsyncStub
    from sira.identity.v1.identity_service_pb2_grpc import IdentityServiceAsyncStub
    from sira.kernel.v1.kernel_service_pb2_grpc import KernelServiceAsyncStub
    from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceAsyncStub
    from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceAsyncStub

    from sira_client.bus import Bus
    from sira_client.locks import Locks


T = TypeVar("T", bound=Owned)


class Client:
    """A client of a kernel: made by connect or connect_insecure, connected in `async with`.

    Every unary call has a deadline (`Settings.default_timeout` where none is given), and fails with a SiraError.

    Attributes:
        registry: the RPCs of the write side of the registry.
        resolver: the RPCs of its read side.
        kernel: the RPCs about the kernel itself.
        identity: the RPCs by which callers get identities, and verify those of others.
        authority: the RPCs of operators about identity.
    """

    registry: RegistryServiceAsyncStub
    resolver: ResolverServiceAsyncStub
    kernel: KernelServiceAsyncStub
    identity: IdentityServiceAsyncStub
    authority: AuthorityServiceAsyncStub

    def __init__(self, addresses: Sequence[str], access: Access, settings: Settings) -> None:
        self._addresses = addresses
        self._access = access
        self._settings = settings
        self._opened: Link | None = None
        self._stack = AsyncExitStack()
        self._owned: set[Owned] = set()
        self._breakers = Breakers()
        self._id = derived_id(socket.gethostname(), str(os.getpid()), f"{settings.random.getrandbits(32):08x}")

    def register(  # noqa: PLR0913 - each is a field of the endpoint, of which a caller names the few it sets
        self,
        service: str,
        *,
        port: int,
        address: str | None = None,
        endpoint_id: str | None = None,
        locality: Locality | None = None,
        weight: int = 0,
        metadata: Mapping[str, str] | None = None,
        tags: Iterable[str] = (),
        version: str = "",
        health_check: HealthCheck | None = None,
        namespace: str = DEFAULT_NAMESPACE,
        ttl: float | None = None,
        allow_missing_service: bool = True,
        timeout: float = 30.0,
        drain_timeout: float = 5.0,
    ) -> Registration:
        """Registers this process as an endpoint of a service, for as long as the `async with` block goes on.

        Args:
            service: id or resource name of the service.
            port: TCP port that the service listens on.
            address: where others reach it. None for the address from which this machine reaches the kernel.
            endpoint_id: None for one made of host name, process id and chance.
            locality: where it runs; None for unknown.
            weight: share of calls relative to its peers; 0 for the default, 100.
            metadata: free labels.
            tags: to filter by.
            version: of the software.
            health_check: how the kernel finds out whether it is well; None to believe it as long as the lease is held.
            namespace: of the service, where `service` is an id.
            ttl: how long, in seconds, the registration outlives a lost connection; None for the kernel's default, 15.
            allow_missing_service: create the service if it is not there.
            timeout: how long, in seconds, to try to register at first.
            drain_timeout: how long, in seconds, to let callers go elsewhere at the end; 0 for not at all.

        Raises:
            ValueError: an id is malformed, or a number is out of its range.
        """
        if ttl is not None and not 0 < ttl < inf:
            raise ValueError("ttl: must be above 0 seconds")
        parent = service_name(service, namespace)
        chance = f"{self._settings.random.getrandbits(32):08x}"
        own_id = endpoint_id or derived_id(socket.gethostname(), str(os.getpid()), chance)
        endpoint = Endpoint(
            name=endpoint_name(parent, own_id),
            addresses=[address] if address else [],
            port=port,
            locality=locality,
            weight=weight,
            metadata=metadata,
            tags=tags,
            version=version,
            health_check=health_check,
        )
        terms = Terms(ttl, allow_missing_service, timeout, drain_timeout)
        return self._own(Registration(self._link, self.registry, self._settings, endpoint, terms))

    async def resolve(
        self,
        service: str,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        locality: Locality | None = None,
        client_id: str = "",
        hash_key: str = "",
        include_unhealthy: bool = False,
        limit: int = 0,
    ) -> list[ResolvedEndpoint]:
        """The endpoints of a service as this caller should try them, in order. Empty if none is healthy.

        Args:
            service: id or resource name of the service.
            namespace: of the service, where `service` is an id.
            locality: where the caller is; None for unknown.
            client_id: who the caller is, for subsetting; empty for none.
            hash_key: for ring hash; empty for a random one.
            include_unhealthy: also those that are not healthy, after the healthy ones.
            limit: at most so many; 0 for all.

        Raises:
            NotFoundError: there is no such service.
            SiraError: the kernel refused, or is not there.
        """
        request = ResolveRequest(
            service=service_name(service, namespace),
            locality=locality,
            client_id=client_id,
            hash_key=hash_key,
            include_unhealthy=include_unhealthy,
            limit=limit,
        )
        return list((await self.resolver.Resolve(request)).endpoints)

    def watch(self, service: str, *, namespace: str = DEFAULT_NAMESPACE) -> AsyncIterator[ServiceView]:
        """Yields the service as it is, then each next state of it, for ever, through lost connections and restarts.

        Raises:
            ValueError: an id is malformed.
            NotFoundError: from the iteration: there is no such service, or no more.
            SiraError: from the iteration: the service is not for this caller.
        """
        return follow(self._link, self._settings, service_name(service, namespace))

    def channel(  # noqa: PLR0913 - each has a default that most callers keep
        self,
        service: str,
        *,
        namespace: str = DEFAULT_NAMESPACE,
        locality: Locality | None = None,
        client_id: str | None = None,
        hash_key: HashKey | None = None,
        retry: RetryPolicy | None = None,
        default_timeout: float | None = None,
        credentials: grpc.ChannelCredentials | None = None,
        mtls: bool | None = None,
        options: Sequence[tuple[str, Any]] = (),
        interceptors: Sequence[grpc.aio.ClientInterceptor] = (),
    ) -> BalancedChannel:
        """A channel to a service, whose calls go as its traffic policy says. It ends with the client at the latest.

        Args:
            service: id or resource name of the service. It need not be there yet.
            namespace: of the service, where `service` is an id.
            locality: where the caller is; None for unknown.
            client_id: who the caller is, for subsetting. None for one of the client's own, new with each process.
            hash_key: the key of a call, for ring hash. None for what the policy says: by default, the metadata
                `sira-hash-key`.
            retry: when a unary call goes again to another endpoint. None for the default: when it was never sent.
            default_timeout: seconds that a unary call may take where its caller does not say; None for no limit.
            credentials: for TLS to the endpoints, as you like it.
            mtls: whether the endpoints are called over mutual TLS with the client's identity, and have to prove to be
                of the service. None for yes if the client has an identity and no credentials are given. Without
                either, calls are in plaintext.
            options: further channel options for each connection.
            interceptors: for each connection: they see each attempt of a call.

        Raises:
            ValueError: an id is malformed; or mtls is asked for without an identity that has a SPIFFE ID, or with
                credentials.
        """
        name = service_name(service, namespace)
        link, settings = self._link, self._settings
        identity = self._identity_for(credentials, mtls)
        plain = Security(credentials)

        def dialer_of(service: str) -> Dial:
            secured = (lambda: plain) if identity is None else endpoint_security(identity, service)
            return dialer(secured, [*ENDPOINT, *options], interceptors)

        channel = build(
            name,
            World(lambda service: follow(link, settings, service), dialer_of, identity, self._breakers, settings),
            locality=locality,
            client_id=self._id if client_id is None else client_id,
            hash_key=hash_key,
            retry=retry or RetryPolicy(),
            default_timeout=default_timeout,
        )
        return self._own(channel)

    def bus(self, *, namespace: str = DEFAULT_NAMESPACE) -> Bus:
        """The bus, to publish and consume records. What is open on it is closed with the client at the latest.

        Args:
            namespace: of topics and subscriptions that are given by their ids.

        Raises:
            ValueError: the id is malformed.
        """
        # Whoever has no records to send does not pay for the codecs of frames.
        from sira_client.bus import Bus

        return Bus(self._link, self._channel, self._settings, self._own, namespace)

    def locks(self, *, namespace: str = DEFAULT_NAMESPACE) -> Locks:
        """Locks, semaphores and elections. What is held is released with the client at the latest.

        Args:
            namespace: of locks and elections that are given by their ids.

        Raises:
            ValueError: the id is malformed.
        """
        from sira_client.locks import Locks

        return Locks(self._link, self._channel, self._settings, self._own, namespace)

    def _identity_for(self, credentials: grpc.ChannelCredentials | None, mtls: bool | None) -> IdentitySource | None:
        """The identity that a channel is to use; None for none."""
        if credentials is not None:
            if mtls:
                raise ValueError("mtls: must not be given with credentials")
            return None
        if mtls and self._access.identity is None:
            raise ValueError("mtls: the client has no identity")
        return None if mtls is False else self._access.identity

    def _own(self, opened: T) -> T:
        """Keeps what has to be closed with the client, and forgets what has been closed before."""
        self._owned = {owned for owned in self._owned if not owned.closed}
        self._owned.add(opened)
        return opened

    @property
    def _link(self) -> Link:
        if self._opened is None:
            raise RuntimeError("the client is connected only in `async with`")
        return self._opened

    async def __aenter__(self) -> Self:
        """Reads the TLS files, or gets the identity, and makes ready to connect. The kernel need not be there yet.

        Raises:
            OSError: a file cannot be read.
            OSError, ValueError, grpc.aio.AioRpcError: the identity, or the bearer's first token, was not to be had.
        """
        async with AsyncExitStack() as stack:
            secured, renewed = await stack.enter_async_context(self._access.open())
            options = KERNEL if len(self._addresses) == 1 else MEMBER
            self._opened = Link(self._addresses, dialer(secured, options), self._settings, renewed)
            self._stack = stack.pop_all()
        channel = KernelChannel(self._opened, self._settings)
        self.registry = RegistryServiceStub(channel)
        self.resolver = ResolverServiceStub(channel)
        self.kernel = KernelServiceStub(channel)
        self.identity = IdentityServiceStub(channel)
        self.authority = AuthorityServiceStub(channel)
        self._channel = channel
        return self

    async def __aexit__(
        self, exc_type: type[BaseException] | None, exc_val: BaseException | None, exc_tb: TracebackType | None
    ) -> None:
        """Ends registrations, channels, producers and consumers that are still open, and disconnects."""
        async with self._stack:
            await asyncio.gather(*(owned.close() for owned in self._owned))
            await self._channel.close()
            await self._link.close()
            self._opened = None
