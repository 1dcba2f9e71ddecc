"""The streams that a store is made of: how they are set up, and whether one that is there is as it must be."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sira_grpc.store.nats_errors import (
    NO_SUITABLE_PEERS,
    REPLICAS_NOT_SUPPORTED,
    STREAM_NAME_IN_USE,
    STREAM_NOT_FOUND,
    Refused,
    unavailable,
)
from sira_grpc.store.nats_link import Link

CALL_SECONDS = 5.0
INFO_SECONDS = 1.5
"""A leader that does not answer by then may be dead: it is worth asking who is by now."""


class Streams:
    """Makes the streams of one store."""

    def __init__(self, link: Link, *, replicas: int) -> None:
        self._link = link
        self._replicas = replicas

    async def ensure(
        self, name: str, subjects: Sequence[str], metadata: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        """Makes a stream unless it is there; returns what the server says of it.

        Raises:
            StoreUnavailable: the servers cannot keep as many replicas.
            Lost, Refused: no answer came, or it is an error.
        """
        config = {
            "name": name,
            "subjects": list(subjects),
            "retention": "limits",
            "storage": "file",
            "discard": "new",
            "num_replicas": self._replicas,
            "max_msgs": -1,
            "max_bytes": -1,
            "max_age": 0,
            "max_msgs_per_subject": -1,
            "allow_direct": True,
            "allow_atomic": True,
            "metadata": dict(metadata or {}),
        }
        try:
            return await self._link.api(f"STREAM.CREATE.{name}", config, within=CALL_SECONDS)
        except Refused as error:
            if error.code == STREAM_NAME_IN_USE:  # with other metadata: another member was first
                return await self._link.api(f"STREAM.INFO.{name}", within=CALL_SECONDS)
            if error.code in {REPLICAS_NOT_SUPPORTED, NO_SUITABLE_PEERS}:
                raise unavailable(
                    f"it cannot keep {self._replicas} replicas of a stream ({error.description}): "
                    f"set up a cluster of at least {self._replicas} servers, or set store.replicas to 1"
                ) from error
            raise

    async def info(self, name: str) -> dict[str, Any] | None:
        """Returns what the stream's leader says of it; None if there is none.

        Raises:
            Lost, Refused: no answer came, or it is another error.
        """
        try:
            return await self._link.api(f"STREAM.INFO.{name}", within=INFO_SECONDS)
        except Refused as error:
            if error.code == STREAM_NOT_FOUND:
                return None
            raise

    async def delete(self, name: str) -> None:
        """Deletes a stream; one that is not there is no error.

        Raises:
            Lost, Refused: no answer came, or it is another error.
        """
        try:
            await self._link.api(f"STREAM.DELETE.{name}", within=CALL_SECONDS)
        except Refused as error:
            if error.code != STREAM_NOT_FOUND:
                raise

    async def purge(self, name: str, *, below: int, subject: str = "") -> None:
        """Removes the messages below a sequence, of one subject or of all.

        Raises:
            Lost, Refused: no answer came, or it is an error.
        """
        body: dict[str, Any] = {"seq": below}
        if subject:
            body["filter"] = subject
        await self._link.api(f"STREAM.PURGE.{name}", body, within=CALL_SECONDS)
