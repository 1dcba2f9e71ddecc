"""Fetches the third-party protos that ours import, from pinned packages, into proto/third_party (ignored by git)."""

from __future__ import annotations

import importlib.util
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


def read_google(name: str) -> bytes:
    """Reads a proto of google/api out of the installed googleapis-common-protos."""
    spec = importlib.util.find_spec("google.api")
    for location in (spec and spec.submodule_search_locations) or ():
        source = Path(location).parent.parent / name
        if source.exists():
            return source.read_bytes()
    raise SystemExit(f"googleapis-common-protos with {name} is not installed: run through `make gen`")


def read_validate() -> bytes:
    """Reads validate.proto out of protovalidate's source distribution."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
        subprocess.run([*command, "--no-binary", ":all:", "--dest", folder, VALIDATE_PACKAGE], check=True)
        (archive,) = Path(folder).glob("*.tar.gz")
        with tarfile.open(archive) as tar:
            (member,) = (m for m in tar.getmembers() if m.name.endswith("/proto/" + VALIDATE_PROTO))
            source = tar.extractfile(member)
            if source is None:
                raise SystemExit(f"{VALIDATE_PACKAGE} has no {VALIDATE_PROTO}")
            return source.read()


def main() -> None:
    """Fetches whatever is missing; what is there is left alone."""
    for name in (VALIDATE_PROTO, *GOOGLE_PROTOS):
        target = TARGET / name
        if not target.exists():
            content = read_validate() if name == VALIDATE_PROTO else read_google(name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)


if __name__ == "__main__":
    main()
