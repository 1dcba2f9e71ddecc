"""The configuration of the xDS control plane."""

from __future__ import annotations

from sira_grpc.config.kinds import Count, Seconds, SecondsOrOff, Section


class XdsConfig(Section, frozen=True):
    """How clients are configured over xDS."""

    batch_limit: Seconds = 0.1
    """How long changes may be gathered while they come without a pause; a single change is sent at once.

    Seconds, default 0.1."""
    max_names: Count = 20_000
    """Resources that one stream may be subscribed to, of each type. Default 20,000."""
    load_report_interval: SecondsOrOff = 10
    """How often clients are asked to report load over LRS. Seconds, default 10; 0: never."""
    resource_ttl: SecondsOrOff = 0
    """How long Envoys keep endpoints that are not confirmed; they are confirmed three times as often.

    Seconds, default 0: for ever, which has the mesh go on without the kernel."""
