"""The client programs: how each is built, and with which command it is run.

`python -m tests.mesh.builds LANGUAGE` prints the command as JSON: null where the tools are not there.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "tests" / "mesh" / "clients"
BUILD = ROOT / "build" / "mesh"
BUILD_SECONDS = 600
"""After which a build is given up. The first one fetches what the program depends on."""

Command = tuple[str, ...]


def build(language: str) -> Command | None:
    """Builds the program of a language, if it has changed. Returns its command; None if its tools are not there.

    Raises:
        subprocess.CalledProcessError: it does not build.
    """
    tools, make, command = _LANGUAGES[language]
    if not all(map(shutil.which, tools)):
        return None
    stamp, digest = BUILD / f"{language}.stamp", _digest(SOURCES / language)
    if not stamp.exists() or stamp.read_text() != digest:
        (BUILD / language).mkdir(parents=True, exist_ok=True)
        make(SOURCES / language, BUILD / language)
        stamp.write_text(digest)
    return command


def _digest(folder: Path) -> str:
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(folder)}\0".encode() + path.read_bytes())
    return digest.hexdigest()


def _run(*command: str, cwd: Path) -> None:
    subprocess.run(command, cwd=cwd, check=True, timeout=BUILD_SECONDS, stdout=sys.stderr)


def _go(source: Path, target: Path) -> None:
    _run("go", "build", "-o", str(target / "client"), ".", cwd=source)


def _java(source: Path, target: Path) -> None:
    _run("mvn", "--quiet", "--batch-mode", f"-Dmesh.build={target}", "compile", cwd=source)


def _node(source: Path, target: Path) -> None:
    shutil.copytree(source, target, dirs_exist_ok=True)
    _run("npm", "ci", "--silent", "--ignore-scripts", cwd=target)


def _nothing(source: Path, target: Path) -> None:
    """Python's runs as it is."""


_LANGUAGES: Mapping[str, tuple[tuple[str, ...], Callable[[Path, Path], None], Command]] = {
    "python": ((), _nothing, (sys.executable, "-m", "tests.mesh.clients.python.client")),
    "go": (("go",), _go, (str(BUILD / "go" / "client"),)),
    "java": (("mvn", "java"), _java, ("java", "-cp", f"{BUILD}/java/classes:{BUILD}/java/lib/*", "mesh.Client")),
    "node": (("npm", "node"), _node, ("node", str(BUILD / "node" / "client.js"))),
}


if __name__ == "__main__":
    print(json.dumps(build(sys.argv[1])))
