"""Which places on disk the agent writes to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sira_grpc.agent.safe_path import check_safe

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give folders to others")


def test_a_place_of_ones_own_is_safe_there_or_not(place: Path) -> None:
    check_safe(place)
    check_safe(place / "not" / "there" / "yet")


@pytest.mark.parametrize(("mode", "who"), [(0o777, "everybody"), (0o757, "everybody")])
def test_a_folder_that_everybody_may_write_to_is_not(place: Path, mode: int, who: str) -> None:
    folder = place / "open"
    folder.mkdir()
    folder.chmod(mode)
    with pytest.raises(PermissionError, match=f"{folder} may be written to by {who}"):
        check_safe(folder / "below")


def test_a_folder_where_each_may_only_take_away_what_is_his_is(place: Path) -> None:
    folder = place / "sticky"
    folder.mkdir()
    folder.chmod(0o1777)
    check_safe(folder / "below")


@as_root
def test_a_folder_of_somebody_else_is_not(place: Path) -> None:
    folder = place / "other"
    folder.mkdir()
    os.chown(folder, 12_345, -1)
    with pytest.raises(PermissionError, match=f"{folder} belongs to user 12345"):
        check_safe(folder / "below")


@as_root
def test_a_folder_that_another_group_may_write_to_is_not(place: Path) -> None:
    folder = place / "group"
    folder.mkdir()
    os.chown(folder, -1, 12_345)
    folder.chmod(0o775)
    with pytest.raises(PermissionError, match=f"{folder} may be written to by group 12345"):
        check_safe(folder)


def test_what_a_link_leads_to_counts(place: Path) -> None:
    folder = place / "open"
    folder.mkdir()
    folder.chmod(0o777)
    (place / "link").symlink_to(folder)
    with pytest.raises(PermissionError):
        check_safe(place / "link" / "below")
