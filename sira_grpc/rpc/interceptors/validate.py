"""Whether requests keep the rules that the protos declare."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from sira_grpc.errors import InvalidField
from sira_grpc.rpc.call import Call
from sira_grpc.rpc.interceptors.interceptor import Interceptor
from sira_grpc.rules import check_rules

_OURS = "sira."
_REMEMBERED = 4096
_REMEMBERED_BYTES = 256


class Validate(Interceptor):
    """Checks each message of our services against the buf.validate rules of its type.

    Small requests that kept the rules are remembered by their bytes, some thousand of them: clients resolve the same
    services again and again, and checking is the dearest part of the chain, some 5 us where a look-up takes 0.2.
    """

    def __init__(self) -> None:
        self._sound: set[tuple[str, bytes]] = set()

    @property
    def remembered(self) -> int:
        """Requests that are remembered."""
        return len(self._sound)

    @staticmethod
    def warm(services: Iterable[str]) -> None:
        """Compiles the rules of every request of our services, which would make the first calls slow.

        Raises:
            KeyError: a service of ours is in no proto that was imported.
            protovalidate.CompilationError: a rule in a proto is wrong.
        """
        pool = descriptor_pool.Default()
        for service in services:
            if service.startswith(_OURS):
                for method in pool.FindServiceByName(service).methods:
                    # An empty request may well break the rules.
                    with contextlib.suppress(InvalidField):
                        check_rules(message_factory.GetMessageClass(method.input_type)())

    def request(self, call: Call, message: Message, data: bytes) -> None:
        """Refuses a message that breaks a rule, naming every field and rule."""
        if not call.method.service.startswith(_OURS):
            return
        if len(data) > _REMEMBERED_BYTES:
            check_rules(message)
            return
        key = (call.method.name, data)
        if key not in self._sound:
            check_rules(message)
            if len(self._sound) >= _REMEMBERED:
                self._sound.clear()
            self._sound.add(key)
