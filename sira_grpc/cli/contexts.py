"""Contexts: named kernels, with how to reach them, in a file of the user's."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

DEFAULT_ADDR = "127.0.0.1:7400"
PEM_FILES = ("ca_file", "cert_file", "key_file")
PROOFS: tuple[tuple[str, ...], ...] = ((*PEM_FILES, "jwt_file"), ("identity_dir",), ("agent_socket",))
"""Ways to secure a connection, each by its keys. They exclude each other."""
VARIABLES = {
    **{key: f"SIRA_{key.upper()}" for key in (*PEM_FILES, "jwt_file", "namespace")},
    # Not SIRA_IDENTITY_DIR, which configures where a kernel keeps its own.
    "identity_dir": "SIRA_CLIENT_IDENTITY_DIR",
}
"""The environment variables that go before what a context says."""
AGENT_VARIABLE = "SPIFFE_ENDPOINT_SOCKET"
"""Where the agent of this host is, by the SPIFFE standard: it counts where nothing else secures the connection."""


@dataclass(frozen=True, slots=True)
class Context:
    """Where a kernel is and how to reach it. With nothing to prove, TLS is for all but loopback and Unix sockets."""

    addr: str = DEFAULT_ADDR
    """`host:port` or `unix:path`."""
    ca_file: str = ""
    """PEM file of the authorities that the server's certificate is verified with. Empty: the system's."""
    cert_file: str = ""
    """PEM file of the client's certificate chain. Empty: none is shown."""
    key_file: str = ""
    """PEM file of the client's private key."""
    namespace: str = "default"
    """The namespace of short names."""
    identity_dir: str = ""
    """Identity directory, for mutual TLS with whatever member of that trust domain is at the address."""
    agent_socket: str = ""
    """Unix socket of an agent, which is asked for an identity over the SPIFFE Workload API."""
    jwt_file: str = ""
    """File with a JWT-SVID, for an address where the kernel asks for no certificate."""

    @property
    def plaintext(self) -> bool:
        """Whether to connect without TLS: only ever on this machine."""
        host = self.addr.rpartition(":")[0].strip("[]")
        local = self.addr.startswith("unix:") or host in {"localhost", "::1"} or host.startswith("127.")
        return local and not self.secured

    @property
    def secured(self) -> bool:
        """Whether anything is named that secures the connection."""
        return any(getattr(self, key) for proof in PROOFS for key in proof)

    @property
    def transport(self) -> str:
        """How the kernel is talked to, for people."""
        if self.identity_dir or self.agent_socket:
            return "mTLS (SPIFFE)"
        if self.cert_file:
            return "mTLS"
        if self.jwt_file:
            return "TLS, JWT-SVID"
        return "plaintext" if self.plaintext else "TLS"

    def check(self) -> str:
        """Returns what is wrong with what it names; empty if nothing is."""
        named = ["/".join(key for key in proof if getattr(self, key)) for proof in PROOFS]
        if sum(map(bool, named)) > 1:
            return f"{' and '.join(filter(None, named))} exclude each other"
        if bool(self.cert_file) != bool(self.key_file):
            return "cert_file and key_file go together"
        if self.jwt_file and self.cert_file:
            return "jwt_file and cert_file exclude each other"
        shown = next((key for key in ("identity_dir", "agent_socket", "jwt_file") if getattr(self, key)), None)
        if shown and self.addr.startswith("unix:"):
            return f"{shown} is of no use at {self.addr}: a Unix socket of a kernel is plaintext"
        return ""


@dataclass(frozen=True, slots=True)
class ContextFile:
    """The contexts of a user, and which of them is the current one."""

    current: str = ""
    contexts: Mapping[str, Context] = field(default_factory=dict)

    @classmethod
    def load(cls, path: Path) -> ContextFile:
        """Reads the file; one that is not there is empty.

        Raises:
            Failure: it is not what save writes; names the key.
        """
        import yaml

        try:
            data = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
        except FileNotFoundError:
            return cls()
        except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
            raise Failure(f"{path}: cannot be read: {error}", ExitCode.USAGE) from error
        if not isinstance(data, dict) or not data.keys() <= {"current", "contexts"}:
            raise Failure(f"{path}: must be a mapping with the keys current and contexts", ExitCode.USAGE)
        contexts = data.get("contexts") or {}
        if not isinstance(contexts, dict):
            raise Failure(f"{path}: contexts: must be a mapping from names to contexts", ExitCode.USAGE)
        return cls(str(data.get("current") or ""), {name: _parse(path, name, each) for name, each in contexts.items()})

    def save(self, path: Path) -> None:
        """Writes the file, whole or not at all."""
        import yaml

        default = asdict(Context())
        contexts = {
            name: {key: value for key, value in asdict(context).items() if key == "addr" or value != default[key]}
            for name, context in self.contexts.items()
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        draft = path.with_name(f"{path.name}.{os.getpid()}")
        draft.write_text(yaml.safe_dump({"current": self.current, "contexts": contexts}, sort_keys=False))
        draft.replace(path)

    def get(self, name: str) -> Context:
        """Returns a context.

        Raises:
            Failure: there is none of that name.
        """
        if name not in self.contexts:
            known = ", ".join(sorted(self.contexts)) or "there are none"
            raise Failure(f"context {name!r} is not there; known: {known}", ExitCode.NOT_FOUND)
        return self.contexts[name]

    def put(self, name: str, context: Context) -> ContextFile:
        """Returns the file with a context added or replaced; the first one becomes the current one."""
        return ContextFile(self.current or name, {**self.contexts, name: context})

    def remove(self, name: str) -> ContextFile:
        """Returns the file without a context; if it was the current one, there is none."""
        self.get(name)
        rest = {each: context for each, context in self.contexts.items() if each != name}
        return ContextFile("" if self.current == name else self.current, rest)

    def use(self, name: str) -> ContextFile:
        """Returns the file with another current context."""
        self.get(name)
        return replace(self, current=name)


def file_path(environment: Mapping[str, str]) -> Path:
    """Returns where the contexts are: SIRA_CONFIG, or sira/config.yaml in the user's configuration folder."""
    if environment.get("SIRA_CONFIG"):
        return Path(environment["SIRA_CONFIG"])
    home = environment.get("XDG_CONFIG_HOME")
    return (Path(home) if home else Path.home() / ".config") / "sira" / "config.yaml"


def choose(addr: str | None, name: str | None, environment: Mapping[str, str]) -> Context:
    """Returns the context that a command talks to.

    Options go before the environment. An address alone is used as it is, for the files of another context would not
    fit; with a context it replaces the context's own. With neither, it is the current context, or the default.
    """
    file = ContextFile.load(file_path(environment))
    name = name or (None if addr else environment.get("SIRA_CONTEXT"))
    addr = addr or (None if name else environment.get("SIRA_ADDR"))
    if not addr:
        name = name or file.current
    context = file.get(name) if name else Context()
    chosen = with_variables(replace(context, addr=addr) if addr else context, environment)
    problem = chosen.check()
    if problem:
        raise Failure(f"{f'context {name}' if name else 'the environment'}: {problem}", ExitCode.USAGE)
    return expanded(chosen)


def with_variables(context: Context, environment: Mapping[str, str]) -> Context:
    """Returns a context with what the environment says instead. A way to secure it takes the place of any other."""
    given = {key: environment[variable] for key, variable in VARIABLES.items() if environment.get(variable)}
    ways = [proof for proof in PROOFS if given.keys() & set(proof)]
    ousted = [key for proof in PROOFS if ways and proof not in ways for key in proof]
    if given.keys() & {"cert_file", "key_file"}:
        ousted.append("jwt_file")
    elif "jwt_file" in given:
        ousted += ["cert_file", "key_file"]
    context = replace(context, **{**dict.fromkeys(ousted, ""), **given})
    socket = environment.get(AGENT_VARIABLE)
    if socket and not context.secured and not context.addr.startswith("unix:"):
        context = replace(context, agent_socket=socket)
    return context


def expanded(context: Context) -> Context:
    """Returns a context with `~` in its paths replaced by the home of the user."""
    return replace(context, **{key: os.path.expanduser(getattr(context, key)) for proof in PROOFS for key in proof})


def _parse(path: Path, name: object, data: Any) -> Context:
    where = f"{path}: contexts.{name}"
    if not isinstance(data, dict):
        raise Failure(f"{where}: must be a mapping", ExitCode.USAGE)
    known = {each.name for each in fields(Context)}
    for key, value in data.items():
        if key not in known:
            raise Failure(f"{where}.{key}: unknown key; known: {', '.join(sorted(known))}", ExitCode.USAGE)
        if not isinstance(value, str):
            raise Failure(f"{where}.{key}: must be text", ExitCode.USAGE)
    return Context(**data)
