"""What the configuration accepts, refuses and shows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from sira_grpc.config import Access, KernelConfig, Secret, load
from sira_grpc.errors import ConfigError


def written(path: Path, data: Any) -> Path:
    path.write_text(yaml.safe_dump(data), encoding="utf-8")
    return path


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "sira.yaml"


def test_without_a_file_everything_has_a_default() -> None:
    config = load()
    assert config == KernelConfig()
    assert config.server.addresses == ("127.0.0.1:7400",)
    assert config.registry.default_lease_ttl == 15


def test_a_file_sets_what_it_names_and_leaves_the_rest(file: Path) -> None:
    config = load(
        written(file, {"server": {"drain_grace": 3, "addresses": ["[::1]:0", "unix:/run/sira"]}, "log": None})
    )
    assert config.server.drain_grace == 3
    assert config.server.addresses == ("[::1]:0", "unix:/run/sira")
    assert config.server.keepalive_time == 10
    assert config.log.level == "info"


def test_an_empty_file_is_no_error(file: Path) -> None:
    file.write_text("# nothing yet\n", encoding="utf-8")
    assert load(file) == KernelConfig()


def test_a_dump_loads_again(file: Path) -> None:
    config = load(environment={"SIRA_LIMITS_BURST": "7", "SIRA_AUTHORIZATION_ANONYMOUS": "read"})
    assert load(written(file, yaml.safe_load(yaml.safe_dump(_plain(config.dump()))))) == config


def _plain(value: Any) -> Any:
    """Tuples as lists: YAML has no tuples."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"sever": {}}, "sever: unknown key"),
        ({"server": {"adresses": []}}, "server.adresses: unknown key"),
        ({"server": {"tls": {"cert": "x"}}}, "server.tls.cert: unknown key"),
        ({"server": {"drain_grace": "10"}}, "server.drain_grace: Expected `float`, got `str`"),
        ({"server": {"keepalive_time": 0}}, "server.keepalive_time: Expected `float` > 0.0"),
        ({"server": {"keepalive_time": float("nan")}}, "server.keepalive_time: Expected `float` > 0.0"),
        ({"server": {"keepalive_time": float("inf")}}, "server.keepalive_time: Expected `float` <= 31536000.0"),
        ({"server": {"max_message_bytes": 1}}, "server.max_message_bytes: Expected `int` >= 1024"),
        ({"server": {"addresses": []}}, "server.addresses: Expected `array` of length >= 1"),
        ({"server": {"addresses": [7400]}}, "server.addresses[0]: Expected `str`, got `int`"),
        ({"server": {"addresses": ["7400"]}}, "server.addresses[0]: '7400' is neither host:port nor unix:path"),
        ({"server": {"addresses": ["localhost:http"]}}, "server.addresses[0]: 'localhost:http' must end in a port"),
        ({"server": {"addresses": ["localhost:65536"]}}, "server.addresses[0]: 'localhost:65536' must end in a port"),
        (
            {"server": {"addresses": ["::1:7400"]}},
            "server.addresses[0]: '::1:7400' must have its IPv6 address in brackets",
        ),
        ({"server": {"addresses": ["unix:"]}}, "server.addresses[0]: 'unix:' lacks the path"),
        ({"server": {"addresses": ["localhost:1", "localhost:1"]}}, "server.addresses: must not name an address twice"),
        ({"server": {"addresses": ["localhost:1", "0.0.0.0:1"]}}, "server.addresses[1]: '0.0.0.0:1' can be reached"),
        ({"server": {"addresses": ["kernel.example:1"]}}, "server.addresses[0]: 'kernel.example:1' can be reached"),
        ({"server": {"tls": {"cert_file": "c"}}}, "server.tls.key_file: is missing"),
        ({"server": {"tls": {"client_ca_file": "c"}}}, "server.tls.cert_file: is missing"),
        (
            {"server": {"tls": {"cert_file": "c", "key_file": "k", "client_auth": "required"}}},
            "server.tls.client_ca_file: is missing",
        ),
        (
            {"server": {"tls": {"cert_file": "c", "key_file": "k", "client_ca_file": "a"}}},
            "server.tls.client_auth: must be required",
        ),
        ({"server": {"tls": {"client_auth": "optional"}}}, "server.tls.client_auth: Invalid enum value 'optional'"),
        ({"limits": {"max_streams_per_caller": 0}}, "limits.max_streams_per_caller: Expected `int` >= 1"),
        ({"authorization": {"anonymous": "admin"}}, "authorization.anonymous: Invalid enum value 'admin'"),
        ({"telemetry": {"prometheus_address": "unix:/x"}}, "telemetry.prometheus_address: must be host:port"),
        ({"telemetry": {"otlp_endpoint": "localhost:4318"}}, "telemetry.otlp_endpoint: must be a URL"),
        ({"telemetry": {"otlp_headers": {"key": 1}}}, "telemetry.otlp_headers[...]: Expected `str`, got `int`"),
        ({"telemetry": {"service_name": ""}}, "telemetry.service_name: must not be empty"),
        ({"telemetry": {"trace_sample_ratio": 1.5}}, "telemetry.trace_sample_ratio: Expected `float` <= 1.0"),
        ({"store": {"data_dir": ""}}, "store.data_dir: must not be empty"),
        ({"store": {"url": "http://a:4222"}}, "store.url: 'http://a:4222' must be nats://host:port"),
        ({"store": {"url": "nats://a:4222,b"}}, "store.url: 'b' must be nats://host:port"),
        ({"store": {"url": "nats://a:4222,"}}, "store.url: '' must be nats://host:port"),
        ({"store": {"url": "nats://me:pw@a:4222"}}, "store.url: must hold no user"),
        ({"store": {"prefix": "a_b"}}, "store.prefix: must be"),
        ({"store": {"replicas": 0}}, "store.replicas"),
        ({"store": {"credentials_file": "/none"}}, "store.credentials_file: /none is no file"),
        ({"store": {"tls_cert_file": "/none"}}, "store.tls_key_file: must be set together"),
        ({"registry": 5}, "registry: Expected `object`, got `int`"),
        ({"log": {5: 6}}, "log: Expected `str`"),
        ([1], "must be a mapping with a key for each section"),
    ],
)
def test_what_breaks_a_rule_is_named(file: Path, data: Any, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(written(file, data))
    assert message in caught.value.message


def test_a_file_that_cannot_be_read_is_named(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"sira\.yaml: cannot be read"):
        load(file)
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match=r"sira\.yaml: cannot be read"):
        load(file)
    file.write_text("server: [", encoding="utf-8")
    with pytest.raises(ConfigError, match=r"sira\.yaml: is no YAML"):
        load(file)


def test_the_environment_overrides_the_file(file: Path) -> None:
    written(file, {"server": {"drain_grace": 3, "keepalive_time": 4}})
    config = load(
        file,
        {
            "SIRA_SERVER_DRAIN_GRACE": "5.5",
            "SIRA_SERVER_ADDRESSES": "127.0.0.1:0, unix:/run/sira",
            "SIRA_SERVER_TLS_CERT_FILE": "c",
            "SIRA_SERVER_TLS_KEY_FILE": "k",
            "SIRA_LIMITS_MAX_CALLS_PER_CALLER": "12",
            "SIRA_TELEMETRY_OTLP_HEADERS": "x-key=s3cret, x-team=mesh",
            "SIRA_ADDR": "of the command line, not ours",
            "HOME": "/",
        },
    )
    assert config.server.drain_grace == 5.5
    assert config.server.keepalive_time == 4
    assert config.server.addresses == ("127.0.0.1:0", "unix:/run/sira")
    assert config.server.tls.cert_file == "c"
    assert config.limits.max_calls_per_caller == 12
    assert config.telemetry.otlp_headers == {"x-key": Secret("s3cret"), "x-team": Secret("mesh")}


@pytest.mark.parametrize(
    ("variable", "value", "message"),
    [
        ("SIRA_SERVER_ADRESSES", "x", "SIRA_SERVER_ADRESSES: this environment variable names no configuration field"),
        ("SIRA_SERVER_DRAIN_GRACE", "soon", "server.drain_grace: Expected `float`, got `str`"),
        ("SIRA_TELEMETRY_OTLP_HEADERS", "key", "SIRA_TELEMETRY_OTLP_HEADERS: must be k=v,k2=v2"),
    ],
)
def test_a_bad_variable_is_named(variable: str, value: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load(environment={variable: value})
    assert message in caught.value.message


def test_the_file_is_checked_where_the_environment_overrides_it_too(file: Path) -> None:
    with pytest.raises(ConfigError, match=r"server\.drain_grace"):
        load(written(file, {"server": {"drain_grace": "10"}}), {"SIRA_SERVER_DRAIN_GRACE": "1"})


def test_secrets_are_never_shown() -> None:
    config = load(environment={"SIRA_TELEMETRY_OTLP_HEADERS": "x-key=s3cret"})
    assert "s3cret" not in str(config.dump())
    assert "s3cret" not in repr(config)
    assert config.dump()["telemetry"]["otlp_headers"] == {"x-key": "***"}
    assert config.telemetry.otlp_headers["x-key"].reveal() == "s3cret"
    assert len({Secret("a"), Secret("a"), Secret("b")}) == 2


def test_a_configuration_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        KernelConfig().server.drain_grace = 1  # type: ignore[misc]  # what is tested


_TLS = {"SIRA_SERVER_TLS_CERT_FILE": "c", "SIRA_SERVER_TLS_KEY_FILE": "k"}
_MTLS = _TLS | {"SIRA_SERVER_TLS_CLIENT_CA_FILE": "a", "SIRA_SERVER_TLS_CLIENT_AUTH": "required"}


@pytest.mark.parametrize(
    ("environment", "access"),
    [
        ({}, "write"),
        ({"SIRA_SERVER_ADDRESSES": "unix:/x,localhost:1,[::1]:1,127.8.8.8:1"}, "write"),
        (_TLS, "write"),
        (_TLS | {"SIRA_SERVER_ADDRESSES": "0.0.0.0:1"}, "read"),
        (_MTLS, "none"),
        (_MTLS | {"SIRA_AUTHORIZATION_ANONYMOUS": "read"}, "read"),
        ({"SIRA_AUTHORIZATION_ANONYMOUS": "none"}, "none"),
    ],
)
def test_what_anonymous_callers_may_do_follows_from_who_can_reach_the_kernel(
    environment: dict[str, str], access: Access
) -> None:
    assert load(environment=environment).anonymous_access == access


@pytest.mark.parametrize(("burst", "rate", "effective"), [("0", "50", 50), ("9", "50", 9)])
def test_the_burst_is_one_second_of_the_rate_unless_it_is_set(burst: str, rate: str, effective: int) -> None:
    config = load(environment={"SIRA_LIMITS_BURST": burst, "SIRA_LIMITS_CALLS_PER_SECOND_PER_CALLER": rate})
    assert config.limits.effective_burst == effective
