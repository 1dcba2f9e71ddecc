"""Fetches the third-party protos that ours import, from pinned packages, into proto/third_party (ignored by git)."""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "proto" / "third_party"
# The last release of protovalidate whose source distribution carries validate.proto and builds without Rust.
VALIDATE_PACKAGE = "protovalidate==1.2.0"
VALIDATE_PROTO = "buf/validate/validate.proto"
GOOGLE_PROTOS = ("google/api/annotations.proto", "google/api/http.proto")


def fetch_google(target: Path) -> None:
    """Copies google/api protos from the installed googleapis-common-protos."""
    spec = importlib.util.find_spec("google.api")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("googleapis-common-protos is not installed: run through `make gen`")
    for name in GOOGLE_PROTOS:
        for location in spec.submodule_search_locations:
            source = Path(location).parent.parent / name
            if source.exists():
                destination = target / name
                destination.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, destination)
                break
        else:
            raise SystemExit(f"googleapis-common-protos has no {name}")


def fetch_validate(target: Path) -> None:
    """Takes validate.proto out of protovalidate's source distribution."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "--no-binary", ":all:"]
            + ["--disable-pip-version-check", "-d", folder, VALIDATE_PACKAGE],
            check=True,
        )
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            (member,) = (m for m in tar.getmembers() if m.name.endswith("/proto/" + VALIDATE_PROTO))
            source = tar.extractfile(member)
            if source is None:
                raise SystemExit(f"{VALIDATE_PACKAGE} has no {VALIDATE_PROTO}")
            destination = target / VALIDATE_PROTO
            destination.parent.mkdir(parents=True, exist_ok=True)
            destination.write_bytes(source.read())


def main() -> None:
    """Fetches whatever is missing; a folder that is complete is left alone."""
    wanted = [TARGET / name for name in (VALIDATE_PROTO, *GOOGLE_PROTOS)]
    if all(path.exists() for path in wanted):
        return
    fetch_google(TARGET)
    fetch_validate(TARGET)


if __name__ == "__main__":
    main()
