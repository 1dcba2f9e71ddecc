"""Policies as documents: YAML or JSON, in the protobuf JSON mapping."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure

if TYPE_CHECKING:
    from google.protobuf.message import Message
    from sira.registry.v1.service_pb2 import Service

STDIN = "-"
PARTS = {"trafficPolicy": "traffic_policy", "accessPolicy": "access_policy"}
"""Keys of a document of both policies, and the fields of a service that they are."""


def held(service: Service) -> list[str]:
    """Returns the fields of the policies that a service has."""
    present = {field.name for field, _ in service.ListFields()}
    return [field for field in PARTS.values() if field in present]


def write(service: Service) -> dict[str, Any]:
    """Returns the policies of a service as `read` takes them: only what is set."""
    from google.protobuf.json_format import MessageToDict

    fields = held(service)
    return {key: MessageToDict(getattr(service, field)) for key, field in PARTS.items() if field in fields}


def read(path: str) -> Service:
    """Reads a document: a traffic policy, or `trafficPolicy` and `accessPolicy`, of which one may be missing.

    Args:
        path: of the file; `-` for stdin.

    Returns:
        A service that has what the document has.

    Raises:
        Failure: it cannot be read; names the place.
    """
    from google.protobuf.json_format import ParseDict, ParseError
    from sira.registry.v1.service_pb2 import Service

    data = _load(path)
    both = {key for key in data if key in PARTS or key in PARTS.values()}
    document = data if both else {"trafficPolicy": data}
    unknown = sorted(str(key) for key in document if both and key not in both)
    if unknown:
        raise Failure(f"{path}: {unknown[0]}: unknown key; known here: {', '.join(PARTS)}", ExitCode.USAGE)
    service = Service()
    try:
        ParseDict(document, service)
    except ParseError as error:
        raise Failure(f"{path}: {error}", ExitCode.USAGE) from error
    _told(service, document)
    return service


def _told(service: Message, document: dict[str, Any]) -> None:
    """Keeps what is there but empty: `accessPolicy: {}` is nobody, and not everybody."""
    for key, field in PARTS.items():
        if key in document or field in document:
            getattr(service, field).SetInParent()


def _load(path: str) -> dict[str, Any]:
    import yaml

    try:
        text = sys.stdin.read() if path == STDIN else Path(path).read_text(encoding="utf-8")
        data = yaml.safe_load(text)
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise Failure(f"{path}: cannot be read: {error}", ExitCode.USAGE) from error
    if not isinstance(data, dict) or not all(isinstance(key, str) for key in data):
        raise Failure(f"{path}: must be a mapping, in YAML or JSON", ExitCode.USAGE)
    return data
