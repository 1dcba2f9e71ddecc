"""Resources as JSON, for people and for tools that look at what clients were sent."""

from __future__ import annotations

from collections.abc import Iterable

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.json_format import MessageToJson

from sira_grpc.xds.resource import Resource

MAX_BYTES = 3 << 20
"""All that resources hold, in one answer: clients of gRPC take messages of up to 4 MiB."""
MAX_LIST_BYTES = 768 << 10
"""All else in one answer: which resources there are, and how far each has come."""


def render(resource: Resource) -> str:
    """Returns a resource in the protobuf JSON mapping, a line for each field: ready to be compared line by line."""
    descriptor = descriptor_pool.Default().FindMessageTypeByName(resource.type_url.rpartition("/")[2])
    message = message_factory.GetMessageClass(descriptor).FromString(resource.body)
    return MessageToJson(message, preserving_proto_field_name=True, sort_keys=True)


class Rendered:
    """Texts of resources, each made once, for as long as a budget lasts.

    Args:
        resources: in the order in which the budget is theirs; None among them is left out.
        budget: bytes of JSON.
    """

    def __init__(self, resources: Iterable[Resource | None], budget: int = MAX_BYTES) -> None:
        self._texts: dict[tuple[str, str], str] = {}
        for resource in resources:
            if resource is None or _key(resource) in self._texts or len(resource.body) > budget:
                continue
            text = render(resource)
            if len(text) <= budget:
                budget -= len(text)
                self._texts[_key(resource)] = text

    def of(self, resource: Resource | None) -> str:
        """Returns the text of a resource; empty for None, and where the budget was used up."""
        return self._texts.get(_key(resource), "") if resource is not None else ""


def _key(resource: Resource) -> tuple[str, str]:
    return resource.type_url, resource.version
