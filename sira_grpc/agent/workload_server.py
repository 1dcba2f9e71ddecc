"""The gRPC server of the Workload API and of SDS: on the agent's private socket, behind an edge as the kernel's."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path

import grpc
from google.rpc.status_pb2 import Status
from grpc import aio
from grpc_status import rpc_status
from opentelemetry.metrics import Meter

from sira_grpc.agent import sds
from sira_grpc.agent.attestation import Process
from sira_grpc.agent.entries import Workload
from sira_grpc.agent.failures import Unready
from sira_grpc.agent.workload_api import SERVICE, Entitled, WorkloadApi, handlers
from sira_grpc.clock import SystemClock
from sira_grpc.config import LimitsConfig
from sira_grpc.errors import ConfigError, FieldViolation, InvalidField, KernelStopping, PermissionDenied
from sira_grpc.rpc.call import Call, Context
from sira_grpc.rpc.edge import Edge
from sira_grpc.rpc.interceptors import Drain, Errors, Interceptor, Limits, Metrics
from sira_grpc.rpc.method_names import tolerate_undecodable

HEADER = "workload.spiffe.io"
"""Metadata that every call of the Workload API must carry, with the value `true`: a request that was forged through a
browser or a proxy would not. SDS goes without, as with SPIRE: Envoys do not send it by themselves."""
DRAIN_SECONDS, FLUSH_SECONDS = 1.0, 0.5
"""How long unary calls may go on, and connections may take to send what is left, once the agent stops."""
LIMITS = LimitsConfig(max_streams_per_caller=1000, max_calls_per_caller=100, calls_per_second_per_caller=500)
"""Of one user. Each call for a JWT-SVID may be one to the kernel."""
_OPTIONS = (
    # An Envoy says in its first request what extensions it has: 61 KB by now.
    ("grpc.max_receive_message_length", 262_144),
    ("grpc.max_metadata_size", 8192),
    ("grpc.max_concurrent_streams", 32),
    # gRPC's own 1,000 refuse calls at random when programs come all at once, or one of them comes far too often.
    ("grpc.server.max_pending_requests", 50_000),
    ("grpc.server.max_pending_requests_hard_limit", 50_000),
    # Who connects and says nothing that gRPC understands goes again soon.
    ("grpc.server_handshake_timeout_ms", 10_000),
    ("grpc.max_connection_idle_ms", 600_000),
    ("grpc.so_reuseport", 0),
)

ProcessOf = Callable[[str], Process | None]
"""Returns the process behind what gRPC says of a peer."""


class Attested(Interceptor):
    """Lets only those in who sent the header and are a process that some entry matches.

    Args:
        workloads: the entries.
        process_of: see ProcessOf.
    """

    def __init__(self, workloads: Sequence[Workload], process_of: ProcessOf) -> None:
        self._workloads = workloads
        self._process_of = process_of

    def enter(self, call: Call) -> None:
        """Looks at the header and the process."""
        metadata = call.context.invocation_metadata() or ()
        headers = [value for key, value in metadata if key == HEADER]
        if headers != ["true"] and call.method.service == SERVICE:
            raise InvalidField([FieldViolation(HEADER, "this metadata must be sent, as `true`")])
        self.entitled(call.context)
        process = self._process_of(call.context.peer())
        call.caller = f"uid {process.uid}" if process is not None else ""

    def entitled(self, context: Context) -> Sequence[Workload]:
        """See workload_api.Entitled."""
        process = self._process_of(context.peer())
        if process is None:
            raise PermissionDenied("no identity: the process is not known")
        entries = [entry for entry in self._workloads if entry.admits(process)]
        if not entries:
            raise PermissionDenied(
                f"no identity: no entry matches process {process.pid}, uid {process.uid}, gid {process.gid}, "
                f"path {process.path or 'unknown'}"
            )
        return entries


class AgentDrain(Drain):
    """The end of the agent, as calls meet it."""

    def refusal(self, *, executed: str = "unknown") -> KernelStopping:
        """Makes the error that a call gets. Nobody forwards calls to an agent: whether it was begun is not told."""
        return KernelStopping("the agent is stopping: try again in a moment", retry_after=1.0)


class WorkloadErrors(Errors):
    """Knows one failure more than the kernel has: what cannot be had right now."""

    def settle(self, call: Call, error: BaseException) -> grpc.Status | None:
        """See Errors."""
        if not isinstance(error, Unready):
            return super().settle(call, error)
        call.code = grpc.StatusCode.UNAVAILABLE
        status: grpc.Status = rpc_status.to_status(Status(code=call.code.value[0], message=str(error)))
        return status


class WorkloadServer:
    """Serves both on a private Unix socket.

    Args:
        workloads: the entries.
        process_of: see ProcessOf.
        make_api: makes the servicer of the Workload API.
        make_discovery: makes that of SDS.
        meter: where metrics go.
        new_id: makes correlation ids.
        random: chance.

    Must be made on the event loop that it runs on.
    """

    def __init__(
        self,
        workloads: Sequence[Workload],
        process_of: ProcessOf,
        make_api: Callable[[Entitled], WorkloadApi],
        make_discovery: Callable[[Entitled], sds.SecretDiscovery],
        *,
        meter: Meter,
        new_id: Callable[[], str],
        random: random.Random,
    ) -> None:
        attested = Attested(workloads, process_of)
        self._drain = AgentDrain(random)
        metrics = Metrics(meter)
        interceptors: list[Interceptor] = [metrics, self._drain, attested, Limits(LIMITS, SystemClock())]
        edge = Edge(interceptors, WorkloadErrors(new_id), metrics)
        edge.add_registered_method_handlers(SERVICE, handlers(make_api(attested.entitled)))
        edge.add_registered_method_handlers(sds.SERVICE, sds.handlers(make_discovery(attested.entitled)))
        tolerate_undecodable()
        self._server = aio.server(handlers=[edge], options=_OPTIONS)

    async def start(self, path: Path) -> None:
        """Binds the socket and answers.

        Raises:
            ConfigError: it cannot be bound.
        """
        try:
            self._server.add_insecure_port(f"unix:{path}")
        except RuntimeError as error:
            raise ConfigError(f"socket: {path} cannot be bound: {error}") from error
        await self._server.start()

    async def stop(self) -> None:
        """Ends streams at once, other calls soon, and then every connection."""
        await self._drain.drain(DRAIN_SECONDS)
        await self._server.stop(FLUSH_SECONDS)
