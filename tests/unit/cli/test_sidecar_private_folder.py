from __future__ import annotations

import socket
from pathlib import Path

from sira_grpc.cli.sidecar.private_folder import private_folder


def test_it_is_private_and_gone_in_the_end(tmp_path: Path) -> None:
    with private_folder(tmp_path) as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()


def test_sockets_fit_in_it_wherever_temporary_files_are(tmp_path: Path) -> None:
    for length in (1, 120):
        place = tmp_path / ("x" * length)
        place.mkdir()
        with private_folder(place) as folder, socket.socket(socket.AF_UNIX) as listening:
            listening.bind(str(folder / "admin.sock"))
