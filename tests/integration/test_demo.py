"""The demo, run as a person runs it: it shows what it promises, ends by itself, and leaves nothing behind."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROC = Path("/proc")
MARK = "DEMO_UNDER_TEST"
CONTROL = re.compile(r"[\x00-\x09\x0b-\x1f\x7f]")

Start = Callable[[], Awaitable[asyncio.subprocess.Process]]

pytestmark = pytest.mark.skipif(not PROC.is_dir(), reason="looks for what is left behind in /proc")


def left_behind(mark: str) -> Iterator[tuple[int, str]]:
    """Process id and command line of everything that the demo with this mark has started and that still runs."""
    for entry in PROC.iterdir():
        try:
            if entry.name.isdigit() and f"{MARK}={mark}".encode() in (entry / "environ").read_bytes().split(b"\0"):
                yield int(entry.name), (entry / "cmdline").read_text().replace("\0", " ")
        except OSError:  # it has just ended, or is somebody else's
            continue


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Starts the demo; in the end, makes sure that nothing of it is left."""
    (tmp_path / "tmp").mkdir()
    environment = {**os.environ, MARK: str(tmp_path), "TMPDIR": str(tmp_path / "tmp")}
    processes = []

    async def run() -> asyncio.subprocess.Process:
        pipe = asyncio.subprocess.PIPE
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "demo", "--quick", cwd=ROOT, env=environment, stdout=pipe, stderr=pipe
        )
        processes.append(process)
        return process

    yield run
    for process in processes:
        if process.returncode is None:
            process.kill()
            await process.wait()
    left = list(left_behind(str(tmp_path)))
    for pid, _ in left:
        os.kill(pid, signal.SIGKILL)
    assert not left
    assert not list((tmp_path / "tmp").iterdir())


async def read_until(process: asyncio.subprocess.Process, text: str) -> None:
    assert process.stdout is not None
    async for line in process.stdout:
        if text in line.decode():
            return
    pytest.fail(f"the demo ended before it said {text!r}")


async def test_no_call_fails_and_no_order_is_lost_whatever_happens(start: Start) -> None:
    process = await start()
    out, err = await process.communicate()
    story = out.decode()
    assert (process.returncode, err.decode()) == (0, ""), story
    assert re.search(r"ok  0 of \d+ calls failed", story)
    assert re.search(r"ok  \d{3,} orders were acknowledged, 0 refused\n +ok  0 of them were lost\n", story)
    assert "NOT SO" not in story
    assert not CONTROL.search(story)
    for scene in (
        *("kill -9 greeter-1", "Strangers at the door", "drain greeter-5", "add greeter-7"),
        *("Exchange the root certificate", "eu-west/a fails", "kill -9 the kernel"),
        *("The bus: a shop", "kill -9 picker-2", "An order that nobody understands", "count the orders"),
    ):
        assert scene in story


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_early(start: Start, number: signal.Signals) -> None:
    process = await start()
    await read_until(process, "calls a second each")
    process.send_signal(number)
    _, err = await process.communicate()
    assert (process.returncode, err.decode()) == (128 + number, "")


async def test_a_process_that_ends_of_itself_fails_it(start: Start, tmp_path: Path) -> None:
    process = await start()
    await read_until(process, "calls a second each")
    (victim,) = (
        pid
        for pid, command in left_behind(str(tmp_path))
        if "demo.greeter_process" in command and "greeter-3" in command
    )
    os.kill(victim, signal.SIGKILL)
    _, err = await process.communicate()
    assert process.returncode == 1
    assert "greeter-3 has ended of itself" in err.decode()
