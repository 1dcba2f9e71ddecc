"""Resources: what clients are sent, serialized once for all who get the same."""

from __future__ import annotations

from hashlib import blake2b

VERSION_BYTES = 8


class Resource:
    """A resource as it is at a generation. Immutable.

    Attributes:
        type_url, name: what it is.
        body: the message, serialized deterministically.
        version: a hash of its content: the same at every member, before and after a restart.
        generation: that of the source when its content last changed.
        before: what it was before that, if that is known; kept for one step.
    """

    __slots__ = ("before", "body", "generation", "name", "type_url", "version")

    def __init__(self, type_url: str, name: str, body: bytes, generation: int, before: Resource | None = None) -> None:
        self.type_url = type_url
        self.name = name
        self.body = body
        self.version = blake2b(body, digest_size=VERSION_BYTES, key=type_url.encode()[-64:]).hexdigest()
        self.generation = generation
        self.before = before
