"""The configuration file: what is taken, and how what is not is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from sira_grpc.agent.attestation import Process
from sira_grpc.agent.entries import AgentConfig, Workload, files_of, load, workloads_of
from sira_grpc.errors import ConfigError
from sira_grpc.svid.spiffe_id import SpiffeId

GOOD = """
kernel: ["sira.example.org:7400", "[::1]:7400"]
socket: /run/sira/agent.sock
workloads:
  - identity: ns/default/svc/checkout
    uid: 1000
    gid: 1000
    path: /usr/local/bin/checkout
    dns_names: [checkout.example.org]
  - identity: spiffe://example.test/ns/default/svc/orders
    gid: 5
files:
  - identity: ns/default/svc/legacy
    directory: /etc/legacy/identity
    uid: 0
  - identity: node/one
    directory: /etc/other
    gid: 7
    group_readable: true
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "agent.yaml"
    path.write_text(text)
    return path


def test_a_file_is_read(tmp_path: Path) -> None:
    config = load(write(tmp_path, GOOD))
    assert config.kernel == ("sira.example.org:7400", "[::1]:7400")
    assert config.socket == "/run/sira/agent.sock"
    first, second = workloads_of(config, "example.test")
    assert str(first.identity) == "spiffe://example.test/ns/default/svc/checkout"
    assert (first.uid, first.gid, first.path) == (1000, 1000, "/usr/local/bin/checkout")
    assert first.dns_names == ("checkout.example.org",)
    assert (second.uid, second.gid, second.path) == (None, 5, "")
    legacy, other = files_of(config, "example.test")
    assert (legacy.uid, legacy.gid, legacy.group_readable) == (0, -1, False)
    assert (other.uid, other.gid, other.group_readable) == (-1, 7, True)
    assert other.directory == Path("/etc/other")


def test_the_identity_of_the_node_alone_is_enough(tmp_path: Path) -> None:
    config = load(write(tmp_path, "kernel: ['127.0.0.1:7400']\nsocket:\nworkloads:\nfiles:\n"))
    assert config == AgentConfig(kernel=("127.0.0.1:7400",))


WORKLOAD = "kernel: ['h:1']\nsocket: /s\nworkloads:\n  - "
FILE = "kernel: ['h:1']\nfiles:\n  - "
ONE = "{identity: node/a, uid: 1}"


@pytest.mark.parametrize(
    ("text", "key", "rule"),
    [
        ("", "agent.yaml", "must be a mapping"),
        ("- 1", "agent.yaml", "must be a mapping"),
        ("kernel: [", "agent.yaml", "is no YAML"),
        ("kernel: []", "kernel", "length >= 1"),
        ("socket: /s", "configuration", "`kernel`"),
        ("kernel: h:1", "kernel", "Expected `array`"),
        ("kernel: ['h']", "kernel[0]", "must be host:port"),
        ("kernel: ['h:0']", "kernel[0]", "must be host:port"),
        ("kernel: ['unix:/x']", "kernel[0]", "must be host:port"),
        ("kernel: ['h:1', '::1:7']", "kernel[1]", "must be host:port"),
        ("kernel: ['h:1']\nsoket: /s", "soket", "unknown key"),
        ("kernel: ['h:1']\nsocket: /s", "workloads", "is missing"),
        ("kernel: ['h:1']\nworkloads: [" + ONE + "]", "socket", "is missing"),
        ("kernel: ['h:1']\nsocket: ../s\nworkloads: [" + ONE + "]", "socket", "must be absolute"),
        (f"kernel: ['h:1']\nsocket: /{'s' * 90}\nworkloads: [{ONE}]", "socket", "at most 90 bytes"),
        (WORKLOAD + "{identity: node/a}", "workloads[0]", "must have a uid, a gid or a path"),
        (WORKLOAD + "{uid: 1}", "workloads[0]", "`identity`"),
        (WORKLOAD + "{identity: node/a, uid: '1'}", "workloads[0].uid", "Expected `int"),
        (WORKLOAD + "{identity: node/a, uid: -1}", "workloads[0].uid", "`int` >= 0"),
        (WORKLOAD + "{identity: node/a, gid: 4294967295}", "workloads[0].gid", "`int` <= 4294967294"),
        (WORKLOAD + "{identity: node/a, uids: 1}", "workloads[0].uids", "unknown key"),
        (WORKLOAD + "{identity: '', uid: 1}", "workloads[0].identity", "segment"),
        (WORKLOAD + "{identity: /node/a, uid: 1}", "workloads[0].identity", "segment"),
        (WORKLOAD + "{identity: 'ns/*/svc/a', uid: 1}", "workloads[0].identity", "segment"),
        (WORKLOAD + "{identity: 'spiffe://a.test', uid: 1}", "workloads[0].identity", "must have a path"),
        (WORKLOAD + "{identity: node/a, path: bin/a}", "workloads[0].path", "must be absolute"),
        (WORKLOAD + "{identity: node/a, path: /bin/../a}", "workloads[0].path", "must be absolute"),
        (WORKLOAD + "{identity: node/a, path: //bin/a}", "workloads[0].path", "must be absolute"),
        (WORKLOAD + '{identity: node/a, path: "/bin/\\0"}', "workloads[0].path", "must be absolute"),
        (WORKLOAD + "{identity: node/a, uid: 1, dns_names: [A]}", "workloads[0].dns_names[0]", "is no DNS name"),
        (WORKLOAD + f"{ONE}\n  - {ONE}", "workloads[1]", "repeats workloads[0]"),
        (FILE + "{identity: node/a}", "files[0]", "`directory`"),
        (FILE + "{identity: node/a, directory: ./a}", "files[0].directory", "must be absolute"),
        (FILE + "{identity: node/a, directory: /a, gid: 1}", "files[0].gid", "without group_readable"),
        (FILE + "{identity: a, directory: /a}\n  - {identity: b, directory: /a}", "files[1].directory", "files[0]"),
    ],
)
def test_what_breaks_a_rule_is_refused_by_name(tmp_path: Path, text: str, key: str, rule: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load(write(tmp_path, text))
    named, _, said = str(refused.value).partition(": ")
    assert named.endswith(key)
    assert rule in said


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"missing\.yaml: cannot be read"):
        load(tmp_path / "missing.yaml")


def test_an_identity_of_another_trust_domain_is_refused() -> None:
    entry = {"identity": "spiffe://other.test/node/a", "uid": 1}
    with pytest.raises(ConfigError, match=r"workloads\[0\]\.identity: .* example\.test"):
        workloads_of(_config(workloads=[entry], socket="/s"), "example.test")
    with pytest.raises(ConfigError, match=r"files\[0\]\.identity: .* example\.test"):
        files_of(_config(files=[{"identity": entry["identity"], "directory": "/a"}]), "example.test")


def _config(**fields: object) -> AgentConfig:
    import msgspec

    return msgspec.convert({"kernel": ["h:1"], **fields}, AgentConfig)


@pytest.mark.parametrize(
    ("uid", "gid", "path", "admitted"),
    [
        (1, None, "", True),
        (2, None, "", False),
        (None, 10, "", True),
        (None, 11, "", False),
        (None, None, "/bin/a", True),
        (None, None, "/bin/b", False),
        (1, 10, "/bin/a", True),
        (1, 10, "/bin/b", False),
        (1, 11, "/bin/a", False),
        (0, 10, "/bin/a", False),
    ],
)
def test_every_selector_that_is_given_must_match(uid: int | None, gid: int | None, path: str, admitted: bool) -> None:
    entry = Workload(SpiffeId("example.test", ("node", "a")), (), uid, gid, path)
    assert entry.admits(Process(pid=7, uid=1, gid=10, path="/bin/a")) is admitted


def test_an_executable_that_is_not_known_matches_no_path() -> None:
    entry = Workload(SpiffeId("example.test", ("node", "a")), (), None, None, "/bin/a")
    assert not entry.admits(Process(pid=7, uid=1, gid=10, path=""))


def test_paths_may_be_relative_to_the_file(tmp_path: Path) -> None:
    file = tmp_path / "agent.yaml"
    file.write_text(f"kernel: ['h:1']\nsocket: run/s\nworkloads: [{ONE}]\nfiles: [{{identity: node/b, directory: b}}]")
    config = load(file)
    assert (config.socket, config.files[0].directory) == (str(tmp_path / "run/s"), str(tmp_path / "b"))
