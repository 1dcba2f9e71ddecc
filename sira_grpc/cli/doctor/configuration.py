"""The files of a kernel's configuration: the folder of identity, an upstream authority's, and those of static TLS."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from sira_grpc.cli.doctor import directories, files
from sira_grpc.cli.doctor.findings import Finding, error, warning

if TYPE_CHECKING:
    from sira_grpc.config import IdentityConfig, KernelConfig, TlsConfig


def inspect(file: Path, environment: Mapping[str, str], now: float) -> Iterator[Finding]:
    """Yields what is wrong with a configuration, as `sira up` would read it, and with the files that it names.

    Args:
        file: the configuration.
        environment: goes before it.
        now: Unix seconds.
    """
    from sira_grpc.config import load
    from sira_grpc.errors import ConfigError

    try:
        config = load(file, environment, identity=True)
    except ConfigError as problem:
        yield error(file, str(problem), "set it right: the kernel does not start with it")
        return
    if config.identity.enabled:
        yield from _identity(config, now)
    if config.server.tls.enabled:
        yield from _tls(config.server.tls, now)


def _identity(config: KernelConfig, now: float) -> Iterator[Finding]:
    from sira_grpc.identity.identity import OPERATOR_DIRECTORY

    own, data = config.identity, Path(config.store.data_dir)
    folder = Path(own.dir)
    if folder.resolve().is_relative_to(data.resolve()):
        yield warning(folder, f"is in {data}, so a backup of that holds the keys too", "move it, and set identity.dir")
    if folder.is_dir():
        yield from _sealing_key(own, folder, data)
        if (folder / OPERATOR_DIRECTORY).is_dir():
            yield from directories.inspect(folder / OPERATOR_DIRECTORY, now)
    if own.upstream_cert_file:
        yield from _upstream(own, now)


def _sealing_key(own: IdentityConfig, folder: Path, data: Path) -> Iterator[Finding]:
    from sira_grpc.errors import ConfigError
    from sira_grpc.identity import sealing
    from sira_grpc.identity.identity import OPERATOR_DIRECTORY

    if own.passphrase.reveal():
        return
    key = folder / sealing.KEY_FILE
    try:
        sealing.check_private(folder)
        sealing.check_private(key)
    except FileNotFoundError:
        if (folder / OPERATOR_DIRECTORY).is_dir():
            lost = f"is not there, and the private keys in {data} are encrypted with it"
            yield error(key, lost, "put it back: the kernel does not start without it")
    except ConfigError as problem:
        yield error(folder, str(problem), "do that: the kernel does not start otherwise")


def _upstream(own: IdentityConfig, now: float) -> Iterator[Finding]:
    from sira_grpc.errors import ConfigError
    from sira_grpc.identity.founding import read_upstream

    file = Path(own.upstream_cert_file)
    try:
        upstream = read_upstream(own, now)
    except ConfigError as problem:
        yield error(file, str(problem), "set it right: the kernel does not start with it")
        return
    for certificate in upstream.chain:
        yield from files.times(file, certificate, now, "have the external authority issue the next one")


def _tls(tls: TlsConfig, now: float) -> Iterator[Finding]:
    yield from files.pair(Path(tls.cert_file), Path(tls.key_file), now)
    if tls.client_ca_file:
        yield from files.authorities(Path(tls.client_ca_file), now)
