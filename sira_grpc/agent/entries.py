"""The agent's configuration: which kernel, who gets which identity over the socket, and which are kept in files."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
import yaml
from msgspec import Meta
from sira_client.addresses import split

from sira_grpc.agent.attestation import Process
from sira_grpc.config.kinds import Section
from sira_grpc.errors import ConfigError
from sira_grpc.svid.signing_request import MAX_DNS_NAMES
from sira_grpc.svid.spiffe_id import SCHEME, SpiffeId

MAX_ENTRIES = 1000
"""Workloads, and files, at most."""
MAX_SOCKET_BYTES = 90
"""A Unix socket's path has at most 107 bytes, and the agent keeps another one beside it."""

Number = Annotated[int, Meta(ge=0, le=2**32 - 2)]
"""A user or group of Linux."""
_DNS_NAME = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_AT = re.compile(r"^(?P<rule>.*?)(?: - at `\$\.?(?P<path>[^`]*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)


class WorkloadEntry(Section, frozen=True):
    """Local processes that are given an identity over the socket. All selectors that are given must match.

    A path alone lets every user have the identity who may run that program: give uid or gid with it.
    """

    identity: str
    """SPIFFE ID, or its path in the agent's trust domain: `ns/default/svc/checkout`."""
    uid: Number | None = None
    """User of the process. Default: any."""
    gid: Number | None = None
    """Group of the process, its primary one. Default: any."""
    path: str = ""
    """Executable of the process, absolute and without symbolic links, as within its own file system. Default: any."""
    dns_names: tuple[str, ...] = ()
    """DNS names besides those that come with the identity. Default none."""


class FileEntry(Section, frozen=True):
    """An identity directory that is kept up to date on disk."""

    identity: str
    """SPIFFE ID, or its path in the agent's trust domain."""
    directory: str
    """Where to. Absolute, or relative to the file; made if it is missing."""
    dns_names: tuple[str, ...] = ()
    """DNS names besides those that come with the identity. Default none."""
    uid: Number | None = None
    """User who is to own the files, in folders that stay the agent's. Default: the agent's."""
    gid: Number | None = None
    """Group that may read the key, with group_readable. Default: that of the directory."""
    group_readable: bool = False
    """Whether the group may read the key. Default no."""


class AgentConfig(Section, frozen=True):
    """Everything that an agent can be told. Immutable."""

    kernel: Annotated[tuple[str, ...], Meta(min_length=1, max_length=16)]
    """`host:port` of the kernel's members, where client certificates are required."""
    socket: str = ""
    """Unix socket of the SPIFFE Workload API. Absolute, or relative to the file. Default empty: none."""
    workloads: Annotated[tuple[WorkloadEntry, ...], Meta(max_length=MAX_ENTRIES)] = ()
    """Who gets what over the socket."""
    files: Annotated[tuple[FileEntry, ...], Meta(max_length=MAX_ENTRIES)] = ()
    """What is kept in files."""

    def __post_init__(self) -> None:
        """Checks what spans fields, and what a type does not say."""
        for index, address in enumerate(self.kernel):
            try:
                split(address)
            except ValueError as error:
                raise ConfigError(f"kernel[{index}]: {address!r} must be host:port or [ipv6]:port") from error
        self._check_socket()
        for key, entry in self._entries():
            _identity(key, entry.identity, None)
            _check_dns_names(key, entry.dns_names)
        self._check_workloads()
        self._check_files()

    def _entries(self) -> Iterator[tuple[str, WorkloadEntry | FileEntry]]:
        for index, workload in enumerate(self.workloads):
            yield f"workloads[{index}]", workload
        for index, file in enumerate(self.files):
            yield f"files[{index}]", file

    def _check_socket(self) -> None:
        if self.workloads and not self.socket:
            raise ConfigError("socket: is missing; workloads are given their identities over it")
        if not self.socket:
            return
        if not self.workloads:
            raise ConfigError("workloads: is missing; over a socket without workloads nobody is given anything")
        _check_path("socket", self.socket)
        if len(os.fsencode(self.socket)) > MAX_SOCKET_BYTES:
            raise ConfigError(f"socket: must have at most {MAX_SOCKET_BYTES} bytes")

    def _check_workloads(self) -> None:
        seen: dict[tuple[Any, ...], int] = {}
        for index, entry in enumerate(self.workloads):
            key = f"workloads[{index}]"
            if entry.uid is None and entry.gid is None and not entry.path:
                raise ConfigError(f"{key}: must have a uid, a gid or a path; without, everybody would get the identity")
            if entry.path:
                _check_path(f"{key}.path", entry.path)
            same = seen.setdefault((entry.identity, entry.uid, entry.gid, entry.path), index)
            if same != index:
                raise ConfigError(f"{key}: repeats workloads[{same}]")

    def _check_files(self) -> None:
        seen: dict[str, int] = {}
        for index, entry in enumerate(self.files):
            key = f"files[{index}].directory"
            _check_path(key, entry.directory)
            same = seen.setdefault(entry.directory, index)
            if same != index:
                raise ConfigError(f"{key}: is that of files[{same}] already")
            if entry.gid is not None and not entry.group_readable:
                raise ConfigError(f"files[{index}].gid: is of no use without group_readable")


@dataclass(frozen=True, slots=True)
class Workload:
    """A workload entry whose identity is complete.

    Attributes:
        identity, dns_names: what it gives.
        uid, gid, path: whom it gives it to; None and empty match all.
    """

    identity: SpiffeId
    dns_names: tuple[str, ...]
    uid: int | None
    gid: int | None
    path: str

    def admits(self, process: Process) -> bool:
        """Whether every selector that is given matches."""
        return self.uid in (None, process.uid) and self.gid in (None, process.gid) and self.path in ("", process.path)


@dataclass(frozen=True, slots=True)
class KeptFiles:
    """A file entry whose identity is complete.

    Attributes:
        identity, dns_names: what is kept.
        directory: where.
        uid: who owns the files; -1 for the agent itself.
        gid: who may read the key, with group_readable; -1 for the group that the directory has.
        group_readable: whether the group may read the key.
    """

    identity: SpiffeId
    dns_names: tuple[str, ...]
    directory: Path
    uid: int = -1
    gid: int = -1
    group_readable: bool = False


def load(path: Path) -> AgentConfig:
    """Reads the configuration file, YAML, and checks everything. Its paths may be relative to its own folder.

    Raises:
        ConfigError: it cannot be read, a key is unknown, or a value breaks a rule. Names the key and the rule.
    """
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except (yaml.YAMLError, RecursionError) as error:
        raise ConfigError(f"{path}: is no YAML: {error}") from error
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: must be a mapping with the key kernel, and maybe socket, workloads and files")
    # A key whose every line is commented out reads as null.
    given = {key: value for key, value in data.items() if value is not None}
    _anchor(given, path.absolute().parent)
    try:
        return msgspec.convert(given, AgentConfig)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error))) from error


def _anchor(data: dict[str, Any], folder: Path) -> None:
    """Makes the paths of what is written absolute. What is no path is left for the checks."""
    holders = [(data, "socket")]
    files = data.get("files")
    if isinstance(files, list):
        holders += [(entry, "directory") for entry in files if isinstance(entry, dict)]
    for holder, key in holders:
        value = holder.get(key)
        if isinstance(value, str) and value and not value.startswith(("/", ".")):
            holder[key] = str(folder / value)


def workloads_of(config: AgentConfig, trust_domain: str) -> tuple[Workload, ...]:
    """Returns the workload entries, complete.

    Raises:
        ConfigError: an identity is of another trust domain; names the key.
    """
    return tuple(
        Workload(
            _identity(f"workloads[{index}]", entry.identity, trust_domain),
            entry.dns_names,
            entry.uid,
            entry.gid,
            entry.path,
        )
        for index, entry in enumerate(config.workloads)
    )


def files_of(config: AgentConfig, trust_domain: str) -> tuple[KeptFiles, ...]:
    """Returns the file entries, complete.

    Raises:
        ConfigError: an identity is of another trust domain; names the key.
    """
    return tuple(
        KeptFiles(
            _identity(f"files[{index}]", entry.identity, trust_domain),
            entry.dns_names,
            Path(entry.directory),
            -1 if entry.uid is None else entry.uid,
            -1 if entry.gid is None else entry.gid,
            entry.group_readable,
        )
        for index, entry in enumerate(config.files)
    )


def complete(text: str, trust_domain: str) -> SpiffeId:
    """Returns a SPIFFE ID that is given in full, or by its path in a trust domain.

    Raises:
        ValueError: it is none.
    """
    identity = SpiffeId.parse(text if text.startswith(SCHEME) else f"{SCHEME}{trust_domain}/{text}")
    if not identity.segments:
        raise ValueError(f"{text!r} must have a path")
    return identity


def _identity(key: str, text: str, trust_domain: str | None) -> SpiffeId:
    """Completes an identity; without a trust domain, the agent's being not known yet, only its form is checked."""
    try:
        identity = complete(text, trust_domain or "any")
    except ValueError as error:
        raise ConfigError(f"{key}.identity: {error}") from error
    if trust_domain not in (None, identity.trust_domain):
        raise ConfigError(f"{key}.identity: {text!r} must be of the agent's trust domain, {trust_domain}")
    return identity


def _check_path(key: str, path: str) -> None:
    plain = os.path.normpath(path) == path and not path.startswith("//") and path.isprintable()
    if not path.startswith("/") or not plain:
        raise ConfigError(f"{key}: {path!r} must be absolute, without `.`, `..`, doubled or closing slashes")


def _check_dns_names(key: str, names: Sequence[str]) -> None:
    if len(names) > MAX_DNS_NAMES:
        raise ConfigError(f"{key}.dns_names: must be at most {MAX_DNS_NAMES}")
    for index, name in enumerate(names):
        if len(name) > 253 or not _DNS_NAME.fullmatch(name):
            raise ConfigError(f"{key}.dns_names[{index}]: {name!r} is no DNS name in lower case")


def _explain(text: str) -> str:
    """Turns `rule - at $.path` into `path: rule`."""
    match = _AT.match(text)
    rule, path = (match["rule"], match["path"] or "") if match else (text, "")
    unknown = _UNKNOWN.match(rule)
    if unknown:
        return f"{path}.{unknown['name']}: unknown key".lstrip(".")
    return f"{path or 'configuration'}: {rule}"
