"""The offset that a position in a partition stands for."""

from __future__ import annotations

from sira.bus.v1.subscription_pb2 import StartPosition

from sira_grpc.bus.partition import Partition
from sira_grpc.errors import FieldViolation, InvalidField


def check_position(position: StartPosition, field: str) -> None:
    """Checks a position that the rules of the protos hold for.

    Args:
        position: what a request has.
        field: of the request, where it has it.

    Raises:
        InvalidField: a time that no clock shows.
    """
    try:
        position.time.ToNanoseconds()
    except ValueError as error:
        raise InvalidField([FieldViolation(f"{field}.time", "is not a time")]) from error


async def offset_of(partition: Partition, position: StartPosition) -> int:
    """Returns the offset: the end for no position, or for an offset of another partition."""
    kind = position.WhichOneof("position")
    if kind == "earliest":
        return partition.first
    if kind == "time":
        return await partition.offset_at(position.time.ToNanoseconds())
    if kind == "offset":
        place = position.offset
        if place.topic == partition.topic and place.partition == partition.number:
            return min(max(place.offset, partition.first), partition.end)
    return partition.end
