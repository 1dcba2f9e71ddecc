"""Checks the protos: lint, format, and no breaking change since the last tag; with --format, formats them instead."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tools import fetch_protos
from tools.buf import ROOT, buf

OURS = ("--path", "proto/sira")


def last_tag(repository: Path) -> str | None:
    """Returns the newest tag that HEAD descends from; None where there is no tag, no commit or no git."""
    if shutil.which("git") is None:
        return None
    command = ["git", "describe", "--tags", "--abbrev=0"]
    described = subprocess.run(command, cwd=repository, capture_output=True, text=True, check=False)
    return described.stdout.strip() if described.returncode == 0 else None


def extract_protos(repository: Path, tag: str, target: Path) -> Path:
    """Writes proto/ as it was at a tag below target, with today's third-party protos, and returns where it is."""
    archive = subprocess.run(["git", "archive", tag, "proto"], cwd=repository, capture_output=True, check=True).stdout
    with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
        tar.extractall(target, filter="data")
    shutil.copytree(fetch_protos.TARGET, target / "proto" / "third_party")
    return target / "proto"


def check_breaking() -> None:
    """Fails on a change of the protos since the last tag that breaks a client."""
    tag = last_tag(ROOT)
    if tag is None:
        print("buf breaking: skipped, for there is no tag to compare with")
        return
    with tempfile.TemporaryDirectory() as folder:
        against = extract_protos(ROOT, tag, Path(folder))
        buf("breaking", "proto", "--against", str(against))
    print(f"buf breaking: nothing since {tag}")


def main() -> None:
    """Entry point."""
    fetch_protos.main()
    if "--format" in sys.argv[1:]:
        buf("format", "proto", "--write", *OURS)
        return
    buf("lint", "proto", *OURS)
    buf("format", "proto", "--diff", "--exit-code", *OURS)
    check_breaking()


if __name__ == "__main__":
    main()
