"""Regenerates gen/ from proto/; with --check, fails if that would change anything."""

from __future__ import annotations

import filecmp
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import fetch_protos

ROOT = Path(__file__).resolve().parent.parent
GEN = ROOT / "gen" / "python"
PACKAGE = "sira"
DISTRIBUTION = ROOT / "tools" / "sira-protos.pyproject.toml"


def buf(*arguments: str) -> None:
    """Runs buf from proto/, with the tools of this interpreter's environment first on PATH."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(["buf", *arguments], cwd=ROOT / "proto", check=True, env={**os.environ, "PATH": path})


def generate(target: Path) -> None:
    """Writes the whole of gen/python into target."""
    fetch_protos.main()
    target.mkdir(parents=True, exist_ok=True)
    buf("generate", "--output", str(target / "a" / "b"))  # buf.gen.yaml's out is ../gen/python, relative to this
    made = target / "a" / "gen" / "python"
    for folder in [made / PACKAGE, *(p for p in (made / PACKAGE).rglob("*") if p.is_dir())]:
        (folder / "py.typed" if folder.name == PACKAGE else folder / "__init__.py").touch()
    (made / PACKAGE / "__init__.py").touch()
    shutil.copyfile(DISTRIBUTION, made / "pyproject.toml")


def files(folder: Path) -> set[str]:
    """Returns the relative paths of the generated files below folder, caches and build output aside."""
    found = (p.relative_to(folder) for p in folder.rglob("*") if p.is_file())
    return {str(p) for p in found if "__pycache__" not in p.parts and not any(x.endswith(".egg-info") for x in p.parts)}


def main() -> None:
    """Entry point."""
    with tempfile.TemporaryDirectory() as folder:
        generate(Path(folder))
        made = Path(folder, "a", "gen", "python")
        if "--check" in sys.argv[1:]:
            names = sorted(files(made) | files(GEN))
            stale = [n for n in names if not _same(made / n, GEN / n)]
            if stale:
                raise SystemExit("gen/ is not what proto/ generates; run `make gen`:\n  " + "\n  ".join(stale))
            return
        shutil.rmtree(GEN / PACKAGE, ignore_errors=True)
        shutil.copytree(made, GEN, dirs_exist_ok=True)


def _same(left: Path, right: Path) -> bool:
    return left.exists() and right.exists() and filecmp.cmp(left, right, shallow=False)


if __name__ == "__main__":
    main()
