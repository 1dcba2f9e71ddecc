"""What the doctor finds: one case for each thing that can be wrong with a directory, a context and a configuration."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from sira_grpc.cli.contexts import Context
from sira_grpc.cli.doctor import configuration, context_material, directories
from sira_grpc.cli.doctor.findings import Finding, Severity
from sira_grpc.svid import x509_svid
from tests.unit.cli import svid_files
from tests.unit.svid.authority import NOW, Authority, Issued

DAY = 86_400.0
ROOT = Authority(end=365 * DAY)
OTHER = Authority(end=365 * DAY)
Damage = Callable[[Path], object]


@pytest.fixture
def me(tmp_path: Path) -> Path:
    return tmp_path / "me"


def told(findings: list[Finding]) -> list[tuple[str, str, str]]:
    return [(finding.severity, Path(finding.subject).name, finding.finding) for finding in findings]


def inspected(directory: Path) -> list[tuple[str, str, str]]:
    return told(list(directories.inspect(directory, NOW)))


def test_a_directory_in_good_order_has_no_findings(me: Path) -> None:
    svid_files.write(me, ROOT)
    assert inspected(me) == []


@pytest.mark.parametrize(
    ("start", "end", "finding"),
    [
        (-3600, -1800, (Severity.ERROR, "svid.pem", "expired 30m ago")),
        (600, 3600, (Severity.ERROR, "svid.pem", "is valid only in 10m")),
        (-3000, 600, (Severity.WARNING, "svid.pem", "expires in 10m")),
        (-300 * DAY, 20 * DAY, (Severity.WARNING, "svid.pem", "expires in 20d")),
    ],
)
def test_times(me: Path, start: float, end: float, finding: tuple[str, str, str]) -> None:
    svid_files.write(me, ROOT, start=start, end=end)
    assert inspected(me) == [finding]


def test_a_key_of_another_certificate(me: Path) -> None:
    svid_files.write(me, ROOT, key=Issued(ROOT.certificate, ec.generate_private_key(ec.SECP256R1())).key_pem)
    assert inspected(me) == [(Severity.ERROR, "key.pem", "is not the key of svid.pem")]


def test_a_bundle_of_another_root(me: Path) -> None:
    svid_files.write(me, ROOT, roots=[OTHER.certificate])
    ((severity, file, finding),) = inspected(me)
    assert (severity, file) == (Severity.ERROR, "bundle.pem")
    assert finding.startswith("does not vouch for svid.pem: no root of a.test vouches for")


def test_a_root_that_is_about_to_expire_is_worth_a_warning_and_an_old_one_beside_a_new_one_is_not(me: Path) -> None:
    ending = Authority(start=-365 * DAY, end=10 * DAY)
    svid_files.write(me, ending)
    assert inspected(me) == [(Severity.WARNING, "bundle.pem", "expires in 10d")]
    gone = Authority("gone", start=-365 * DAY, end=-DAY)
    svid_files.write(me, ROOT, roots=[gone.certificate, ROOT.certificate])
    assert inspected(me) == []


def test_a_certificate_that_was_revoked(me: Path) -> None:
    issued = svid_files.write(me, ROOT)
    svid_files.write(me, ROOT, issued, crl=svid_files.revoking(ROOT, issued))
    assert inspected(me) == [(Severity.ERROR, "svid.pem", "was revoked")]


@pytest.mark.parametrize(
    ("damage", "finding"),
    [
        (lambda me: (me / "key.pem").chmod(0o604), (Severity.ERROR, "key.pem", "is open to everybody (mode 604)")),
        (
            lambda me: (me / "key.pem").chmod(0o660),
            (Severity.ERROR, "key.pem", "is open to its group, to write (mode 660)"),
        ),
        (lambda me: (me / "key.pem").chmod(0o640), (Severity.NOTE, "key.pem", "may be read by its group (mode 640)")),
        (lambda me: me.chmod(0o777), (Severity.ERROR, "me", "may be written to by others (mode 777)")),
        (lambda me: (me / "key.pem").write_text("x"), (Severity.ERROR, "key.pem", "is no unencrypted PEM key")),
        (lambda me: (me / "crl.pem").unlink(), None),
    ],
)
def test_damage(me: Path, damage: Damage, finding: tuple[str, str, str] | None) -> None:
    svid_files.write(me, ROOT)
    damage(me)
    assert inspected(me) == ([finding] if finding else [])


@pytest.mark.parametrize("file", ["svid.pem", "bundle.pem"])
def test_files_that_hold_something_else_or_are_not_there(me: Path, file: str) -> None:
    svid_files.write(me, ROOT)
    (me / file).write_text("rubbish")
    ((severity, name, finding),) = inspected(me)
    assert (severity, name) == (Severity.ERROR, file)
    assert finding.startswith("is no PEM certificate")
    (me / ".current").resolve().joinpath(file).unlink()
    ((severity, name, finding),) = inspected(me)
    assert (severity, name) == (Severity.ERROR, "me")
    assert finding.endswith(f"{file}: No such file or directory")


def certificate(folder: Path, name: str, *, authority: Authority = ROOT, rsa_key: bool = False, **how: float) -> Path:
    """Writes NAME.pem and NAME.key."""
    key = rsa.generate_private_key(65537, 2048) if rsa_key else None
    issued = authority.issue(key=key, **how)
    (folder / f"{name}.pem").write_bytes(x509_svid.to_pem([issued.certificate]))
    (folder / f"{name}.key").write_bytes(issued.key_pem)
    (folder / f"{name}.key").chmod(0o600)
    return folder / f"{name}.pem"


def test_contexts(tmp_path: Path) -> None:
    good = certificate(tmp_path, "good")
    old = certificate(tmp_path, "old", start=-7200, end=-3600)
    (tmp_path / "ca.pem").write_bytes(x509_svid.to_pem([ROOT.certificate]))
    (tmp_path / "jwt").write_text("rubbish")
    files = {"ca_file": str(tmp_path / "ca.pem"), "cert_file": str(good), "key_file": str(good.with_suffix(".key"))}
    cases: list[tuple[Context, list[tuple[str, str, str]]]] = [
        (Context(), []),
        (Context(**files), []),
        (Context(cert_file="c"), [(Severity.ERROR, "x", "cert_file and key_file go together")]),
        (Context(ca_file="/nowhere"), [(Severity.ERROR, "nowhere", "cannot be read: No such file or directory")]),
        (
            Context(**files | {"cert_file": str(old)}),
            [(Severity.ERROR, "old.pem", "expired 1h ago"), (Severity.ERROR, "good.key", f"is not the key of {old}")],
        ),
        (
            Context(**files | {"key_file": str(good)}),
            [
                (Severity.ERROR, "good.pem", "is open to everybody (mode 644)"),
                (Severity.ERROR, "good.pem", "is no unencrypted PEM key"),
            ],
        ),
        (
            Context(**files | {"key_file": "/nowhere"}),
            [(Severity.ERROR, "nowhere", "cannot be read: No such file or directory")],
        ),
        (
            Context(agent_socket=f"unix:{tmp_path}/agent.sock"),
            [(Severity.ERROR, "agent.sock", "no agent answers: No such file or directory")],
        ),
    ]
    for context, findings in cases:
        assert told(list(context_material.inspect("x", context, NOW))) == findings
    ((severity, _, finding),) = told(list(context_material.inspect("x", Context(jwt_file=str(tmp_path / "jwt")), NOW)))
    assert (severity, "holds no JWT-SVID" in finding) == (Severity.ERROR, True)


def test_a_directory_that_two_contexts_name_is_looked_at_once(me: Path) -> None:
    contexts = {"a": Context(identity_dir=str(me)), "b": Context(identity_dir=str(me)), "c": Context()}
    assert len(list(context_material.inspect_directories(contexts, [me], NOW))) == 1


def configured(tmp_path: Path, content: str) -> list[Finding]:
    file = tmp_path / "sira.yaml"
    file.write_text(content)
    return list(configuration.inspect(file, {}, NOW))


def test_a_configuration_that_cannot_be_used(tmp_path: Path) -> None:
    (finding,) = configured(tmp_path, "sever: {}")
    assert (finding.severity, finding.finding) == (Severity.ERROR, "sever: unknown key")


def test_the_folder_of_identity(tmp_path: Path) -> None:
    folder, data = tmp_path / "id", tmp_path / "data"
    content = f"{{identity: {{dir: {folder}}}, store: {{data_dir: {data}}}}}"
    assert configured(tmp_path, content) == []  # it was never started
    folder.mkdir(mode=0o700)
    (folder / "encryption.key").write_text("00" * 32)
    (folder / "encryption.key").chmod(0o600)
    svid_files.write(folder / "operator", ROOT)
    assert configured(tmp_path, content) == []
    inside = f"{{identity: {{dir: {folder}}}, store: {{data_dir: {tmp_path}}}}}"
    assert told(configured(tmp_path, inside)) == [
        (Severity.WARNING, "id", f"is in {tmp_path}, so a backup of that holds the keys too")
    ]
    folder.chmod(0o755)
    (finding,) = configured(tmp_path, content)
    assert (finding.severity, "is open to others (mode 755): chmod 700 it" in finding.finding) == (Severity.ERROR, True)
    folder.chmod(0o700)
    (folder / "encryption.key").unlink()
    (finding,) = configured(tmp_path, content)
    assert finding.finding == f"is not there, and the private keys in {data} are encrypted with it"
    assert configured(tmp_path, content.replace("dir:", "passphrase: longer than that, dir:", 1)) == []


def test_the_files_of_an_upstream_authority(tmp_path: Path) -> None:
    upstream = "{upstream_cert_file: /nowhere, upstream_key_file: /nowhere, upstream_bundle_file: /nowhere}"
    (finding,) = configured(tmp_path, f"{{identity: {upstream}, store: {{data_dir: {tmp_path}/data}}}}")
    assert finding.finding.startswith("identity.upstream_")


def test_static_tls(tmp_path: Path) -> None:
    cert = certificate(tmp_path, "server", start=-90 * DAY, end=10 * DAY, rsa_key=True)
    tls = f"cert_file: {cert}, key_file: {cert.with_suffix('.key')}"
    expiring = (Severity.WARNING, "server.pem", "expires in 10d")
    assert told(configured(tmp_path, f"server: {{tls: {{{tls}}}}}")) == [expiring]
    clients = f"{tls}, client_auth: required, client_ca_file: /nowhere"
    assert told(configured(tmp_path, f"server: {{tls: {{{clients}}}}}")) == [
        expiring,
        (Severity.ERROR, "nowhere", "cannot be read: No such file or directory"),
    ]
