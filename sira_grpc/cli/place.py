"""The options that say where something runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from sira.registry.v1.locality_pb2 import Locality

Region = Annotated[str, typer.Option(help="Region, such as `eu-west`.")]
Zone = Annotated[str, typer.Option(help="Zone in the region, such as `eu-west-1a`.")]


def locality(region: str, zone: str) -> Locality | None:
    """Returns the locality; None if nothing is known of it."""
    from sira.registry.v1.locality_pb2 import Locality

    return Locality(region=region, zone=zone) if region or zone else None
