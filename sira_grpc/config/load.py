"""Reading the configuration from a YAML file and the environment."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import yaml

from sira_grpc.config.environment import overrides
from sira_grpc.config.kernel import KernelConfig
from sira_grpc.config.kinds import Secret
from sira_grpc.errors import ConfigError

_AT = re.compile(r"^(?P<rule>.*?)(?: - at `\$\.?(?P<path>[^`]*)`| - at `key` in `\$\.?(?P<keys>[^`]*)`)?$", re.DOTALL)
_UNKNOWN = re.compile(r"^Object contains unknown field `(?P<name>.*)`$", re.DOTALL)


def load(
    path: Path | None = None, environment: Mapping[str, str] | None = None, *, identity: bool = False
) -> KernelConfig:
    """Reads the file, lays the environment over it, and checks everything.

    Args:
        path: a YAML file with one mapping for each section; None for the defaults.
        environment: where `SIRA_<SECTION>_<FIELD>` variables are looked up; None for nowhere.
        identity: identity.enabled is true where nothing is said of it and server.tls names no certificate.

    Raises:
        ConfigError: the file cannot be read, a key is unknown, or a value breaks a rule. Names the key and the rule.
    """
    data = _read(path) if path else {}
    changes = list(overrides(environment or {}))
    if identity:
        _enable_identity(data, changes)
    # The file's numbers must be numbers, a variable's are text: so the file is checked by itself first.
    config = _convert(data, strict=True)
    if not changes:
        return config
    for keys, value in changes:
        section = data
        for key in keys[:-1]:
            section = section.setdefault(key, {})
        section[keys[-1]] = value
    return _convert(data, strict=False)


def _enable_identity(data: dict[str, Any], changes: Sequence[tuple[tuple[str, ...], Any]]) -> None:
    given = dict(changes)
    own = data.get("identity") or {}
    server = data.get("server") or {}
    tls = (server.get("tls") or {}) if isinstance(server, dict) else {}
    certificate = given.get(("server", "tls", "cert_file")) or (isinstance(tls, dict) and tls.get("cert_file"))
    said = ("identity", "enabled") in given or (isinstance(own, dict) and own.get("enabled") is not None)
    if isinstance(own, dict) and not certificate and not said:
        data["identity"] = {**own, "enabled": True}


def _read(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from error
    except yaml.YAMLError as error:
        raise ConfigError(f"{path}: is no YAML: {error}") from error
    if data is None:
        return {}
    if not isinstance(data, dict):
        raise ConfigError(f"{path}: must be a mapping with a key for each section")
    # A section whose every line is commented out reads as null.
    return {key: value for key, value in data.items() if value is not None}


def _convert(data: Mapping[str, Any], *, strict: bool) -> KernelConfig:
    try:
        return msgspec.convert(data, KernelConfig, strict=strict, dec_hook=_decode)
    except msgspec.ValidationError as error:
        raise ConfigError(_explain(str(error))) from error


def _decode(kind: type, value: object) -> object:
    """Builds what msgspec does not know; msgspec asks for it."""
    if kind is Secret and isinstance(value, str):
        return Secret(value)
    raise ValueError(f"Expected `str`, got `{type(value).__name__}`")


def _explain(text: str) -> str:
    """Turns `rule - at $.path` into `path: rule`."""
    match = _AT.match(text)
    rule, path = (match["rule"], match["path"] or match["keys"] or "") if match else (text, "")
    unknown = _UNKNOWN.match(rule)
    if unknown:
        return f"{path}.{unknown['name']}: unknown key".lstrip(".")
    return f"{path or 'configuration'}: {rule}"
