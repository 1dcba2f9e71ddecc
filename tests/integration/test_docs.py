"""The documents say what the code does: the configuration, the errors, the metrics, and how to back up and restore."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from google.protobuf.duration_pb2 import Duration
from sira.errors.v1.error_reason_pb2 import ErrorReason
from sira_client import IdentityFiles, connect
from sira_client.bus import RetryPolicy

from sira_grpc.config import KernelConfig
from sira_grpc.rpc.status import code_of
from tests.integration.marked_blocks import Command, blocks
from tests.integration.sira_process import SiraProcess, dev

DOCS = Path(__file__).resolve().parents[2] / "docs"
OPERATIONS = DOCS / "operations.md"
ROW = re.compile(r"^\| `(?P<name>[^`]+)` \| (?P<next>[^|]*?) \|", re.MULTILINE)


def table(document: Path, title: str) -> dict[str, str]:
    """First and second cell of the rows of a table, given the title of its first column."""
    text = document.read_text(encoding="utf-8").partition(f"\n| {title} |")[2].partition("\n\n")[0]
    rows = [(match["name"], match["next"]) for match in ROW.finditer(text)]
    assert len(rows) == len(dict(rows)), f"{document.name}: a row of {title} is there twice"
    return dict(rows)


def fields(section: dict[str, Any], path: str = "") -> Iterator[tuple[str, str]]:
    for name, value in section.items():
        if isinstance(value, dict) and value:
            yield from fields(value, f"{path}{name}.")
        else:
            yield f"{path}{name}", f"`{json.dumps(value)}`"


def test_every_field_of_the_configuration_is_there_with_its_default() -> None:
    assert table(OPERATIONS, "Field") == dict(fields(KernelConfig().dump()))


def test_every_error_is_there_with_its_status() -> None:
    reasons = [reason for reason in ErrorReason.values() if reason != ErrorReason.ERROR_REASON_UNSPECIFIED]
    codes = {ErrorReason.Name(reason).removeprefix("ERROR_REASON_"): code_of(reason).name for reason in reasons}
    documents = ("registry.md", "identity.md", "bus.md", "cluster.md", "locks.md", "xds.md")
    told = [row for name in documents for row in table(DOCS / name, "Reason").items()]
    assert len(told) == len(dict(told)), "an error is there twice"
    assert dict(told) == codes


def test_every_metric_is_there() -> None:
    with SiraProcess(
        *("dev", "-o", "json", "--listen", "127.0.0.1:0"),
        environment={
            "SIRA_TELEMETRY_PROMETHEUS_ADDRESS": "127.0.0.1:0",
            "SIRA_IDENTITY_ENABLED": "true",
            "SIRA_SERVER_TOKEN_ADDRESSES": "127.0.0.1:0",
        },
    ) as kernel:
        ready = kernel.json()
        asyncio.run(exercise(ready["addresses"][0], ready["operatorDir"]))
        with urllib.request.urlopen(f"http://{ready['metricsAddress']}/metrics") as answer:
            shown = re.findall(r"^# TYPE (\w+)", answer.read().decode(), re.MULTILINE)
    assert set(table(OPERATIONS, "Metric")) == set(shown) - {"target_info"}


def test_a_backup_can_be_made_and_restored(tmp_path: Path) -> None:
    (command,) = blocks(OPERATIONS)
    assert isinstance(command, Command)
    with dev("--data-dir", str(tmp_path / "sira-data")) as kernel:
        address = kernel.json()["addresses"][0]
        sira(address, "services", "create", "kept")
        backup = command.text.replace("python", sys.executable, 1)
        subprocess.run(["bash", "-c", backup], cwd=tmp_path, check=True)
        sira(address, "services", "create", "lost")
    (tmp_path / "restored").mkdir()
    (tmp_path / "backup.db").rename(tmp_path / "restored" / "sira.db")
    with dev("--data-dir", str(tmp_path / "restored")) as kernel:
        services = json.loads(sira(kernel.json()["addresses"][0], "services", "list"))
    assert [service["name"] for service in services] == ["namespaces/default/services/kept"]


async def exercise(address: str, identity: str) -> None:
    """Does some of everything that is counted, so that there is something to measure."""
    async with connect(address, identity=IdentityFiles(identity)) as client:
        bus = client.bus()
        await bus.topics.create("counted")
        await bus.subscriptions.create("counts", "counted", retry=RetryPolicy(max_deliveries=2, min_backoff=Duration()))
        for payload in (b"good", b"bad"):
            await bus.publish("counted", payload)
        async with bus.subscribe("counts") as records:
            async for record in records:
                await (record.ack() if record.payload == b"good" else record.nak())
                if record.attempt == 2:
                    break
        async with client.register("counted", address="127.0.0.1", port=1):
            pass


def sira(address: str, *arguments: str) -> str:
    """What a command prints as JSON."""
    command = [sys.executable, "-m", "sira_grpc", "--addr", address, "-o", "json", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout
