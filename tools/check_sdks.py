"""Builds each SDK and runs its tests where nothing else is installed, with its oldest and newest dependencies."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import tomllib
import zipfile
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TESTS = Path("tests", "unit", "client")
SOURCES = {"sira_protos": Path("gen", "python"), "sira_client": Path("sdks", "python")}


@dataclass(frozen=True, slots=True)
class Interpreter:
    """An environment's Python."""

    path: Path

    @classmethod
    def create(cls, folder: Path) -> Interpreter:
        """Makes an empty environment with a pip that knows dependency groups."""
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
        made = cls(folder / "bin" / "python")
        made.pip("install", "--upgrade", "pip>=25.1")
        return made

    def pip(self, *arguments: str) -> None:
        """Runs pip from the root of the repository."""
        command = [str(self.path), "-m", "pip", "--disable-pip-version-check", "--quiet", *arguments]
        subprocess.run(command, cwd=ROOT, check=True)

    def run(self, *arguments: str, cwd: Path) -> None:
        """Runs Python away from the sources, so that only what is installed can be imported."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        subprocess.run([str(self.path), *arguments], cwd=cwd, env=environment, check=True)


def oldest(project: Path) -> tuple[str, ...]:
    """Returns the requirements that pin each dependency of a project to the lower end of its range."""
    with project.open("rb") as file:
        requirements = tomllib.load(file)["project"]["dependencies"]
    floors = (re.match(r"([\w.-]+)>=([\w.]+)", requirement) for requirement in requirements)
    return tuple(f"{floor[1]}=={floor[2]}" for floor in floors if floor)


def build(target: Path) -> list[Path]:
    """Builds the wheels from copies of the sources, which stay as they are, and returns their paths."""
    ignored = shutil.ignore_patterns("__pycache__", "*.egg-info", "build")
    for name, source in SOURCES.items():
        shutil.copytree(ROOT / source, target / "sources" / name, ignore=ignored)
    copies = [str(target / "sources" / name) for name in SOURCES]
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "wheel", "--no-deps"]
    subprocess.run([*command, "--wheel-dir", str(target / "wheels"), *copies], check=True)
    return sorted((target / "wheels").glob("*.whl"))


def sources(folder: Path) -> set[str]:
    """Returns the relative paths of the Python files of a package below folder, build output aside."""
    paths = {path.relative_to(folder).as_posix() for path in folder.rglob("*.py*") if path.suffix in {".py", ".pyi"}}
    return {path for path in paths if not path.startswith("build/")}


def check_wheels(wheels: list[Path]) -> None:
    """Fails if a wheel lacks a source file, is untyped, or ships what another one ships too."""
    seen: set[str] = set()
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            shipped = {name for name in archive.namelist() if ".dist-info/" not in name}
        wanted = sources(ROOT / SOURCES[wheel.name.split("-")[0]])
        wanted.add(min(wanted).split("/")[0] + "/py.typed")
        for problem, paths in (
            ("lacks", wanted - shipped),
            ("ships what another wheel ships too:", shipped & seen),
            ("has no source for", shipped - wanted),
        ):
            if paths:
                raise SystemExit(f"{wheel.name} {problem} {', '.join(sorted(paths))}")
        seen |= shipped
        print(f"{wheel.name}: {len(shipped)} files", flush=True)


def test(name: str, wheels: list[Path], pins: tuple[str, ...], folder: Path) -> None:
    """Installs the wheels into a clean environment and runs the SDK's tests there, from a copy without the kernel."""
    started = time.monotonic()
    interpreter = Interpreter.create(folder / "venv")
    interpreter.pip("install", *map(str, wheels), *pins, "--group", "test")
    shutil.copytree(ROOT / TESTS, folder / TESTS, ignore=shutil.ignore_patterns("__pycache__"))
    versions = "import importlib.metadata as m; print({p: m.version(p) for p in ('protobuf', 'grpcio')}, flush=True)"
    absent = "import importlib.util as u; assert u.find_spec('sira_grpc') is None, 'the kernel is installed'"
    interpreter.run("-c", f"{versions}; {absent}", cwd=folder)
    options = ["-o", "pythonpath=", "-p", "no:cacheprovider", "--rootdir", str(folder), "-q", "-n", "2"]
    interpreter.run("-m", "pytest", "-c", str(ROOT / "pyproject.toml"), *options, str(TESTS), cwd=folder)
    print(f"Python SDK, {name} dependencies: passed in {time.monotonic() - started:.0f} s", flush=True)


def main() -> None:
    """Entry point."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        wheels = build(folder)
        check_wheels(wheels)
        for kind, pins in (("oldest", oldest(ROOT / SOURCES["sira_client"] / "pyproject.toml")), ("newest", ())):
            (folder / kind).mkdir()
            test(kind, wheels, pins, folder / kind)


if __name__ == "__main__":
    main()
