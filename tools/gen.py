"""Regenerates gen/ from proto/; with --check, fails if that would change anything."""

from __future__ import annotations

import filecmp
import shutil
import sys
import tempfile
from pathlib import Path

from tools import fetch_protos
from tools.buf import ROOT, buf

OUTPUT = Path("gen", "python")
PACKAGE = "sira"
DISTRIBUTION = ROOT / "tools" / "sira-protos.pyproject.toml"


def generate(root: Path) -> Path:
    """Writes the whole of gen/python below root and returns where it is."""
    fetch_protos.main()
    buf("generate", "--template", "proto/buf.gen.yaml", "--output", str(root))
    made = root / OUTPUT
    package = made / PACKAGE
    for folder in (package, *(path for path in package.rglob("*") if path.is_dir())):
        (folder / "__init__.py").touch()
    (package / "py.typed").touch()
    shutil.copyfile(DISTRIBUTION, made / "pyproject.toml")
    return made


def files(folder: Path) -> set[str]:
    """Returns the relative paths of the generated files below folder, caches and build output aside."""
    found = (path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
    return {path.as_posix() for path in found if not any(_is_byproduct(part) for part in path.parts)}


def stale(made: Path, committed: Path) -> list[str]:
    """Returns the relative paths of files that differ, or are in only one of the two folders."""
    return [name for name in sorted(files(made) | files(committed)) if not _same(made / name, committed / name)]


def main() -> None:
    """Entry point."""
    with tempfile.TemporaryDirectory() as folder:
        made = generate(Path(folder))
        committed = ROOT / OUTPUT
        if "--check" in sys.argv[1:]:
            names = stale(made, committed)
            if names:
                raise SystemExit("gen/ is not what proto/ generates; run `make gen`:\n  " + "\n  ".join(names))
            return
        shutil.rmtree(committed / PACKAGE, ignore_errors=True)
        shutil.copytree(made, committed, dirs_exist_ok=True)


def _is_byproduct(part: str) -> bool:
    return part in {"__pycache__", "build"} or part.endswith(".egg-info")


def _same(left: Path, right: Path) -> bool:
    return left.exists() and right.exists() and filecmp.cmp(left, right, shallow=False)


if __name__ == "__main__":
    main()
