"""The README is true: what it tells the reader to type is typed, in order, and prints what it says."""

from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from queue import Empty, Queue

import pytest

from sira_grpc.nats_server import free_ports
from tests.integration.marked_blocks import Command, File, blocks

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
PATIENCE_SECONDS = 60
PORTS = (7400, 7443, 7444, 9464)
"""Ports of the document that are exchanged for free ones."""
FIRST_MEMBER, SECOND_MEMBER = 7450, 7451
"""Ports of the cluster's members: exchanged too, one behind the other, and freed again when one of them is killed."""


class Reader:
    """Somebody who follows the document in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._ports = {port: _free_port() for port in PORTS}
        (first,) = free_ports(1)
        self._ports.update({FIRST_MEMBER: first, SECOND_MEMBER: first + 1})
        plain = {key: value for key, value in os.environ.items() if not key.startswith("SIRA_")}
        self._environment = {
            **plain,
            "PATH": f"{Path(sys.prefix) / 'bin'}:{os.environ['PATH']}",
            "SIRA_ADDR": f"127.0.0.1:{self._ports[7400]}",
            "SIRA_CONFIG": str(folder / "contexts.yaml"),
        }
        self._running: list[tuple[Command, subprocess.Popen[str]]] = []

    def write(self, file: File) -> None:
        """Writes a file that the document shows."""
        (self._folder / file.name).write_text(self._own(file.text))

    def run(self, command: Command) -> None:
        """Types a command and looks at what it prints."""
        if command.keeps_running:
            self._leave_running(command)
            return
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            with self._start(command) as process:
                out, err = process.communicate(timeout=PATIENCE_SECONDS)
            done = process.returncode == 0 and command.matches(out)
            if done or not command.soon or time.monotonic() > deadline:
                assert done, f"line {command.line}: {command.text}\n{process.returncode}\n{out}\n{err}"
                return

    def leave(self) -> None:
        """Presses Ctrl-C in every terminal, the last one opened first."""
        for command, process in reversed(self._running):
            os.killpg(process.pid, signal.SIGINT)
            code = process.wait(timeout=PATIENCE_SECONDS)
            if command.text.startswith("sira "):
                assert code == 0, command.text

    def kill(self) -> None:
        """Ends whatever still runs."""
        for _, process in self._running:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()

    def _leave_running(self, command: Command) -> None:
        process = self._start(command)
        self._running.append((command, process))
        lines: Queue[str] = Queue()
        threading.Thread(target=_copy, args=(process, lines), daemon=True).start()
        printed = ""
        while not command.matches(self._theirs(printed)):
            try:
                printed += lines.get(timeout=PATIENCE_SECONDS)
            except Empty:
                pytest.fail(f"line {command.line}: {command.text}\n{printed}")

    def _start(self, command: Command) -> subprocess.Popen[str]:
        return subprocess.Popen(
            ["bash", "-c", self._own(command.text)],
            cwd=self._folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL if command.keeps_running else subprocess.PIPE,
            text=True,
            start_new_session=True,
        )

    def _own(self, text: str) -> str:
        """The text with ports that are free here."""
        for port, free in self._ports.items():
            text = text.replace(f":{port}", f":{free}").replace(f"--port {port}", f"--port {free}")
        return text.replace("sira dev", f"sira dev --listen 127.0.0.1:{self._ports[7400]}")

    def _theirs(self, text: str) -> str:
        """The text with the ports of the document again."""
        for port, free in self._ports.items():
            text = text.replace(f":{free}", f":{port}")
        return text


def _copy(process: subprocess.Popen[str], lines: Queue[str]) -> None:
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.put(line)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture
def interruptible() -> Iterator[None]:
    """Has what is started here heed Ctrl-C, which the background of a shell has its children ignore."""
    previous = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, previous)


@pytest.fixture
def reader(tmp_path: Path, interruptible: None) -> Iterator[Reader]:
    """A reader who has an environment."""
    (tmp_path / ".venv").symlink_to(sys.prefix)
    follower = Reader(tmp_path)
    yield follower
    follower.kill()


def test_every_block_does_what_it_says(reader: Reader) -> None:
    found = list(blocks(README))
    assert len(found) > 15
    for block in found:
        if isinstance(block, File):
            reader.write(block)
        else:
            reader.run(block)
    reader.leave()


def test_its_make_targets_are_there() -> None:
    targets = re.findall(r"^    make ([a-z-]+)", README.read_text(encoding="utf-8"), re.MULTILINE)
    assert set(targets) == {"demo", "test"}
    for target in targets:
        subprocess.run(["make", "--dry-run", target], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_links_lead_somewhere(document: Path) -> None:
    prose = re.sub(r"`[^`\n]*`", "", document.read_text(encoding="utf-8"))
    for link in re.findall(r"\]\(([^)#\s]+)[^)]*\)", prose):
        if "://" not in link:
            assert (document.parent / link).exists(), f"{document.name}: {link}"
