"""Runs buf, as it is installed beside this interpreter, from the root of the repository."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def buf(*arguments: str) -> None:
    """Runs buf with the tools of this interpreter's environment first on PATH; exits with its code if it fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    environment = {**os.environ, "PATH": path}
    code = subprocess.run(["buf", *arguments], cwd=ROOT, env=environment, check=False).returncode
    if code:
        raise SystemExit(code)
