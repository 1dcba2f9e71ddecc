"""What is refused at the start."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sira_grpc.agent.entries import KeptFiles
from sira_grpc.agent.places import check_places
from sira_grpc.errors import ConfigError
from sira_grpc.svid.spiffe_id import SpiffeId

NODE = SpiffeId("example.test", ("node", "one"))


def test_places_of_ones_own_are_fine(place: Path) -> None:
    check_places(place, (), [KeptFiles(NODE, (), place / "a", uid=os.geteuid(), gid=os.getegid())])
    assert list(place.iterdir()) == []


def test_a_directory_that_others_may_write_to_is_named(place: Path) -> None:
    (place / "open").mkdir()
    (place / "open").chmod(0o777)
    with pytest.raises(ConfigError, match=r"files\[0\]\.directory: .* is not safe: .* written to by everybody"):
        check_places(place, (), [KeptFiles(NODE, (), place / "open" / "a")])


@pytest.mark.parametrize("field", ["uid", "gid"])
def test_an_owner_that_files_may_not_be_given_to_is_named(
    place: Path, field: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, uid: int, gid: int) -> None:
        if (uid, gid) != (-1, -1):
            raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "chown", refuse)
    entry = KeptFiles(NODE, (), place / "a", **{field: 12_345})  # type: ignore[arg-type] # one of its numbers
    with pytest.raises(ConfigError, match=rf"files\[0\]\.{field}: the agent may not give files to it"):
        check_places(place, (), [entry])
    assert list(place.iterdir()) == []
