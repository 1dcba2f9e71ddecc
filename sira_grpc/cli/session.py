"""A kernel that a command talks to: its stubs, a deadline, a namespace for short names, and a printer."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure, explain_rpc

if TYPE_CHECKING:
    import grpc
    from sira.kernel.v1.kernel_service_pb2_grpc import KernelServiceStub
    from sira.registry.v1.registry_service_pb2_grpc import RegistryServiceStub
    from sira.registry.v1.resolver_service_pb2_grpc import ResolverServiceStub

    from sira_grpc.cli.contexts import Context
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
    """

    def __init__(self, context: Context, printer: Printer, timeout: float) -> None:
        self.context = context
        self.printer = printer
        self.timeout = timeout

    def __enter__(self) -> Session:
        """Makes no connection yet."""
        return self

    def __exit__(self, *failure: object) -> None:
        """Closes the connection, if there is one."""
        if "channel" in self.__dict__:
            self.channel.close()

    @functools.cached_property
    def channel(self) -> grpc.Channel:
        """The connection, made when it is first needed."""
        import grpc

        context = self.context
        if context.plaintext:
            return grpc.insecure_channel(context.addr)
        credentials = grpc.ssl_channel_credentials(
            root_certificates=_read("ca_file", context.ca_file),
            private_key=_read("key_file", context.key_file),
            certificate_chain=_read("cert_file", context.cert_file),
        )
        return grpc.secure_channel(context.addr, credentials)

    @property
    def kernel(self) -> KernelServiceStub:
        """How the kernel itself is."""
        from sira.kernel.v1.kernel_service_pb2_grpc import KernelServiceStub

        return KernelServiceStub(self.channel)

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
            raise explain_rpc(error, self.context.addr) from error

    def stream(self, method: ServerStream[Request, Response], request: Request) -> Iterator[Response]:
        """Calls a method that answers many times, for as long as it lasts.

        Raises:
            Failure, from the iteration: the call failed.
        """
        import grpc

        try:
            yield from method(request)
        except grpc.RpcError as error:
            raise explain_rpc(error, self.context.addr) from error

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


def _read(key: str, path: str) -> bytes | None:
    """The bytes of a PEM file of the context; None where it names none."""
    if not path:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise Failure(f"{key}: {error}", ExitCode.USAGE) from error
