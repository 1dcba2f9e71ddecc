"""`sira up --cluster`: what one member is told another one knows, whatever is killed, and nothing outlives it."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from sira_grpc.cli.exits import ExitCode
from tests.integration.sira_process import SiraProcess

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="it waits for processes with pidfd_open")

PATIENCE = 60
"""Seconds after which a test gives up."""
TEXT = "x" * 100


class Cluster(SiraProcess):
    """`sira up --cluster`, with all that it writes in a folder, and the commands that its members are sent."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        where = ("--port", "0", "--dir", str(folder))
        super().__init__("up", "-o", "json", "--cluster", *where, *arguments, environment=clean(folder))
        self._folder = folder
        self.ready: dict[str, Any] = {}

    def start(self) -> None:
        """Waits until it serves."""
        self.ready = self.json()

    @property
    def pids(self) -> list[int]:
        return [each["pid"] for each in (*self.ready["members"], *self.ready["nodes"])]

    def sira(self, member: int, *arguments: str) -> str:
        """Sends a command to a member, and returns what it prints."""
        environment = self._environment(member)
        command = [sys.executable, "-m", "sira_grpc", *arguments, "--timeout", "30s"]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=2 * PATIENCE
        )
        assert done.returncode == ExitCode.OK, done.stderr
        return done.stdout

    def _environment(self, member: int) -> dict[str, str]:
        return clean(self._folder) | {
            "SIRA_ADDR": self.ready["members"][member]["addresses"][0],
            "SIRA_CLIENT_IDENTITY_DIR": self.ready["operatorDir"],
        }

    def both_live(self, member: int) -> None:
        """Waits until a member hears both: one whose connection to the store is gone is not heard for a while."""
        environment = self._environment(member)
        with SiraProcess("cluster", "watch", "-o", "json", environment=environment) as watch:
            while [each["state"] for each in watch.json()["cluster"]["members"]].count("MEMBER_STATE_LIVE") != 2:
                pass

    def texts(self, member: int) -> list[str]:
        """The records of the topic, as a member has them."""
        told = self.sira(member, "bus", "tail", "t", "--from", "earliest", "--max", "3", "-o", "json")
        return [json.loads(line)["text"] for line in told.splitlines()]


def clean(folder: Path) -> dict[str, str]:
    """The environment, without what says of the contexts of whoever runs the test."""
    return {**os.environ, "SIRA_CONFIG": str(folder / "none.yaml")}


def child_processes(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_until_gone(pids: Iterable[int]) -> None:
    """Returns once none of these processes runs any more."""
    for pid in pids:
        try:
            handle = os.pidfd_open(pid)
        except ProcessLookupError:
            continue
        try:
            poll = select.poll()
            poll.register(handle, select.POLLIN)
            assert poll.poll(PATIENCE * 1000), f"process {pid} still runs"
        finally:
            os.close(handle)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Cluster]:
    with Cluster(tmp_path / "cluster") as cluster:
        cluster.start()
        yield cluster
    wait_until_gone(cluster.pids)


def filled(cluster: Cluster) -> None:
    """Puts something of each subsystem in, through the first member."""
    cluster.sira(0, "namespaces", "create", "shop")
    cluster.sira(0, "services", "create", "web")
    cluster.sira(0, "bus", "topics", "create", "t")
    cluster.sira(0, "bus", "pub", "t", TEXT, "--count", "3")


def kept(cluster: Cluster, member: int) -> None:
    """Makes sure that a member has what was put in."""
    assert "shop" in cluster.sira(member, "namespaces", "list")
    assert "web" in cluster.sira(member, "services", "list")
    assert cluster.texts(member) == [TEXT] * 3


def test_what_is_killed_is_started_again_and_nothing_is_lost_or_left(running: Cluster) -> None:
    first, second = running.ready["members"]
    assert running.ready["addresses"] == [*first["addresses"], *second["addresses"]]
    assert [node["name"] for node in running.ready["nodes"]] == ["n1", "n2", "n3"]
    filled(running)
    kept(running, 1)
    os.kill(first["pid"], signal.SIGKILL)
    running.chatter("m1 has ended (SIGKILL); it is started again in 1 s")
    kept(running, 1)
    running.chatter("m1 serves again: pid ")
    kept(running, 0)
    os.kill(running.ready["nodes"][0]["pid"], signal.SIGKILL)
    running.chatter("n1 has ended (SIGKILL); it is started again in 1 s")
    kept(running, 1)
    running.chatter("n1 runs again: pid ")
    running.both_live(1)
    children = child_processes(running._process.pid)
    assert len(children) == 5
    running.kill()  # and so it stops nobody in order
    wait_until_gone(children)


def test_the_next_start_goes_on_from_the_folder(running: Cluster, tmp_path: Path) -> None:
    filled(running)
    with Cluster(tmp_path / "cluster") as other:
        assert other.wait() == ExitCode.ERROR
        assert "--dir: another cluster runs in" in other.rest()[-1]
    assert running.interrupt() == ExitCode.OK
    assert running.rest()[-1] == "stopped"
    assert sorted(each.name for each in (tmp_path / "cluster").iterdir()) == ["identity", "n1", "n2", "n3"]
    with Cluster(tmp_path / "cluster", "--members", "1") as again:
        again.start()
        assert again.ready["rootSha256"] == running.ready["rootSha256"]
        kept(again, 0)
        assert again.terminate() == ExitCode.OK
    wait_until_gone(again.pids)


def test_interrupted_while_it_starts_it_leaves_nothing(tmp_path: Path) -> None:
    with Cluster(tmp_path / "cluster") as cluster:
        cluster.chatter("m1 | ")  # the servers run, and the first member starts
        children = child_processes(cluster._process.pid)
        assert len(children) >= 4
        assert cluster.interrupt() == ExitCode.OK
    wait_until_gone(children)


def test_a_member_that_cannot_start_ends_it(tmp_path: Path) -> None:
    config = tmp_path / "sira.yaml"
    config.write_text("identity: {trust_domain: UPPER}\n")
    with Cluster(tmp_path / "cluster", "--config", str(config)) as cluster:
        assert cluster.wait() == ExitCode.ERROR
        *_, why, line = cluster.rest()
    assert why.startswith("m1 | sira: identity.trust_domain: must be")
    assert line == "sira: member m1 has ended before it served (exit code 2): see what it says above"
