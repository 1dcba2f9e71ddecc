"""A kernel that a command talks to: its stubs, a deadline, a namespace for short names, and a printer."""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sira_grpc.cli.failures import Failure, explain_rpc

if TYPE_CHECKING:
    import grpc
    from sira.bus.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub
    from sira.bus.v1.subscription_service_pb2_grpc import SubscriptionServiceStub
    from sira.bus.v1.topic_service_pb2_grpc import TopicServiceStub
    from sira.cluster.v1.cluster_service_pb2_grpc import ClusterServiceStub
    from sira.cluster.v1.election_service_pb2_grpc import ElectionServiceStub
    from sira.cluster.v1.lock_service_pb2_grpc import LockServiceStub
    from sira.identity.v1.authority_service_pb2_grpc import AuthorityServiceStub
    from sira.identity.v1.identity_service_pb2_grpc import IdentityServiceStub
    from sira.kernel.v1.kernel_service_pb2_grpc import KernelServiceStub
    from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
    from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceStub
    from sira.xds.v1.client_service_pb2_grpc import ClientServiceStub

    from sira_grpc.cli.contexts import Context
    from sira_grpc.cli.credentials import Credentials
    from sira_grpc.cli.output import Printer

Request_contra = TypeVar("Request_contra", contravariant=True)
Response_co = TypeVar("Response_co", covariant=True)
Request = TypeVar("Request")
Response = TypeVar("Response")


class Unary(Protocol[Request_contra, Response_co]):
    """A method of a stub that takes one message and answers one."""

    def __call__(self, request: Request_contra, *, timeout: float | None = None) -> Response_co:
        """Calls it and waits."""


class ServerStream(Protocol[Request_contra, Response_co]):
    """A method of a stub that takes one message and answers many."""

    def __call__(self, request: Request_contra) -> Iterator[Response_co]:
        """Calls it."""


class Session:
    """A kernel to talk to, and how to print what it answers.

    Args:
        context: where it is and how to reach it.
        printer: for its answers.
        timeout: seconds that it has to answer a call.
        patience: seconds that a command may take that waits for something; None if the user has set no limit.
    """

    def __init__(self, context: Context, printer: Printer, timeout: float, *, patience: float | None = None) -> None:
        self.context = context
        self.printer = printer
        self.timeout = timeout
        self.patience = patience

    def __enter__(self) -> Session:
        """Makes no connection yet."""
        # gRPC, once it is imported, logs failed handshakes to stderr: the command tells of them in its own line.
        os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
        return self

    def __exit__(self, *failure: object) -> None:
        """Closes the connection, if there is one."""
        self.disconnect()

    def disconnect(self) -> None:
        """Closes the connection; the next call makes another, with what the context's files hold then."""
        self.__dict__.pop("credentials", None)
        if "channel" in self.__dict__:
            self.__dict__.pop("channel").close()

    @functools.cached_property
    def credentials(self) -> Credentials | None:
        """What the connection is secured with, read when it is first needed; None for plaintext.

        Raises:
            Failure: it cannot be read, or does not count any more.
        """
        from sira_grpc.cli import credentials

        return None if self.context.plaintext else credentials.load(self.context)

    @functools.cached_property
    def channel(self) -> grpc.Channel:
        """The connection, made when it is first needed."""
        import grpc

        if self.credentials is None:
            return grpc.insecure_channel(self.context.addr)
        return self.credentials.channel(self.context.addr)

    @property
    def kernel(self) -> KernelServiceStub:
        """How the kernel itself is."""
        from sira.kernel.v1.kernel_service_pb2_grpc import KernelServiceStub

        return KernelServiceStub(self.channel)

    @property
    def cluster(self) -> ClusterServiceStub:
        """Who the members are, and how the store is."""
        from sira.cluster.v1.cluster_service_pb2_grpc import ClusterServiceStub

        return ClusterServiceStub(self.channel)

    @property
    def registry(self) -> RegistryServiceStub:
        """The write side."""
        from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub

        return RegistryServiceStub(self.channel)

    @property
    def resolver(self) -> ResolverServiceStub:
        """The read side."""
        from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceStub

        return ResolverServiceStub(self.channel)

    @property
    def identity(self) -> IdentityServiceStub:
        """How callers get their identities."""
        from sira.identity.v1.identity_service_pb2_grpc import IdentityServiceStub

        return IdentityServiceStub(self.channel)

    @property
    def authority(self) -> AuthorityServiceStub:
        """The operator's side of identity."""
        from sira.identity.v1.authority_service_pb2_grpc import AuthorityServiceStub

        return AuthorityServiceStub(self.channel)

    @property
    def topics(self) -> TopicServiceStub:
        """Which topics there are."""
        from sira.bus.v1.topic_service_pb2_grpc import TopicServiceStub

        return TopicServiceStub(self.channel)

    @property
    def subscriptions(self) -> SubscriptionServiceStub:
        """Which subscriptions there are."""
        from sira.bus.v1.subscription_service_pb2_grpc import SubscriptionServiceStub

        return SubscriptionServiceStub(self.channel)

    @property
    def dead_letters(self) -> DeadLetterServiceStub:
        """What subscriptions gave up."""
        from sira.bus.v1.dead_letter_service_pb2_grpc import DeadLetterServiceStub

        return DeadLetterServiceStub(self.channel)

    @property
    def locks(self) -> LockServiceStub:
        """Locks and semaphores."""
        from sira.cluster.v1.lock_service_pb2_grpc import LockServiceStub

        return LockServiceStub(self.channel)

    @property
    def elections(self) -> ElectionServiceStub:
        """Who leads."""
        from sira.cluster.v1.election_service_pb2_grpc import ElectionServiceStub

        return ElectionServiceStub(self.channel)

    @property
    def clients(self) -> ClientServiceStub:
        """Who takes its configuration over xDS."""
        from sira.xds.v1.client_service_pb2_grpc import ClientServiceStub

        return ClientServiceStub(self.channel)

    @functools.cached_property
    def trust_domain(self) -> str:
        """The kernel's trust domain, asked for when it is first needed."""
        from sira.identity.v1.identity_service_pb2 import GetTrustBundleRequest

        return self.call(self.identity.GetTrustBundle, GetTrustBundleRequest()).bundle.trust_domain

    def namespace(self, given: str | None) -> str:
        """Returns the id of the namespace that short names are in."""
        return (given or self.context.namespace).removeprefix("namespaces/")

    def call(self, method: Unary[Request, Response], request: Request, *, longer: float = 0) -> Response:
        """Calls a method.

        Args:
            method: of one of the stubs.
            request: what it takes.
            longer: seconds that the kernel is asked to wait, on top of the deadline.

        Raises:
            Failure: the call failed.
        """
        import grpc

        try:
            return method(request, timeout=self.timeout + longer)
        except grpc.RpcError as error:
            raise self.explain(error) from error

    def stream(self, method: ServerStream[Request, Response], request: Request) -> Iterator[Response]:
        """Calls a method that answers many times, for as long as it lasts.

        Raises:
            Failure, from the iteration: the call failed.
        """
        import grpc

        try:
            yield from method(request)
        except grpc.RpcError as error:
            raise self.explain(error) from error

    def pages(self, method: Unary[Any, Any], request: Any, field: str, *, limit: int = 0) -> list[Any]:
        """Calls a list method until its last page.

        Args:
            method: of one of the stubs.
            request: for the first page.
            field: of the response, that holds the items.
            limit: stop at so many items; 0 for all.
        """
        items: list[Any] = []
        while True:
            request.page_size = min(limit - len(items), 1000) if limit else 1000
            response = self.call(method, request)
            items.extend(getattr(response, field))
            request.page_token = response.next_page_token
            if not request.page_token or (limit and len(items) >= limit):
                return items

    def explain(self, error: grpc.RpcError) -> Failure:
        """Says what a failed call to this kernel means."""
        failure = explain_rpc(error, self.context.addr)
        # What a server that wants a certificate does to whoever shows none, and one with TLS to plaintext.
        shown = self.credentials is not None and (self.credentials.chain or self.credentials.token)
        if str(failure).endswith("Socket closed") and not shown:
            hint = (
                "if it asks for an identity, name yours: SIRA_CLIENT_IDENTITY_DIR, or `sira context set --identity-dir`"
            )
            return Failure(f"{failure}; {hint}", failure.code)
        return failure
