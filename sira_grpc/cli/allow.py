"""`sira allow` and `sira deny`: which services may call a service."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated

import typer

from sira_grpc.cli import access_rules, names, service_edits
from sira_grpc.cli.commands import Namespace, connected
from sira_grpc.cli.exits import ExitCode
from sira_grpc.cli.failures import Failure
from sira_grpc.cli.output import Column, say
from sira_grpc.cli.policy import summary
from sira_grpc.cli.session import Session

if TYPE_CHECKING:
    from sira.registry.v1.access_policy_pb2 import AccessPolicy, AllowRule
    from sira.registry.v1.service_pb2 import Service

ANY = "-"
"""What stands for all, in the names of sources."""
SETTINGS = {"ignore_unknown_options": True}
"""Of the commands: `->` is no option."""
_ARROWS = {"->", "to"}
_PATHS = ["access_policy", "traffic_policy.tls"]

Ends = Annotated[
    list[str],
    typer.Argument(
        metavar="SOURCE [to] SERVICE",
        help="Who calls, and who is called: `frontend checkout`, `shop/cart checkout`, `'shop/*' checkout`.",
    ),
]
Methods = Annotated[
    list[str] | None,
    typer.Option("--method", help="`/package.Service/Method` or `/package.Service/*`; repeatable. Default: all."),
]

COLUMNS: Sequence[Column[AllowRule]] = (
    ("MAY CALL", lambda rule: ", ".join(summary.sources(rule))),
    ("METHODS", summary.methods),
)


@connected
def allow(
    session: Session,
    ends: Ends,
    namespace: Namespace = None,
    method: Methods = None,
    mutual_tls: Annotated[bool, typer.Option("--mutual-tls", help="Turn on mutual TLS, if it is off.")] = False,
) -> None:
    """Let a service call another. Once anybody is allowed, nobody else may call it.

    The source is a service of the namespace, or `NAMESPACE/SERVICE`; `'NAMESPACE/*'` is all of a namespace, and
    `'*/*'` everybody with an identity.
    """
    source, target = _ends(ends, session.namespace(namespace))

    turned_on = False

    def change(service: Service) -> bool:
        nonlocal turned_on
        turned_on = _secured(service, mutual_tls)
        return access_rules.allow(service.access_policy, source, method or ()) or turned_on

    _report(session, service_edits.edit(session, target, _PATHS, change))
    if turned_on:
        say(f"mutual TLS is on for {names.short(target)}")


@connected
def deny(session: Session, ends: Ends, namespace: Namespace = None, method: Methods = None) -> None:
    """Take back what `allow` has allowed. If that was the last of it, nobody may call the service."""
    source, target = _ends(ends, session.namespace(namespace))
    methods = method or ()

    def change(service: Service) -> bool:
        return _denied(service, source, methods)

    changed = service_edits.edit(session, target, _PATHS, change)
    _report(session, changed)
    if others := access_rules.wider(changed.access_policy, source, methods):
        say(f"{summary.caller(source)} may call it all the same, or some of it: {_named(others)} may")


def _ends(ends: Sequence[str], namespace: str) -> tuple[str, str]:
    """The names of who calls and of who is called."""
    if len(ends) == 3 and ends[1] in _ARROWS:
        ends = (ends[0], ends[2])
    if len(ends) != 2:
        hint = "; quote '->', for a shell takes > for a redirection" if ends[-1] == ANY else ""
        raise Failure(f"SOURCE [to] SERVICE: {' '.join(ends)!r} must be two names{hint}", ExitCode.USAGE)
    if ends[1] == ANY:
        raise Failure("SOURCE [to] SERVICE: quote '->', for a shell takes > for a redirection", ExitCode.USAGE)
    return _source(ends[0], namespace), names.service_name(ends[1], namespace)


def _source(text: str, namespace: str) -> str:
    if text == "*":
        raise Failure(f"SOURCE: '*' may be {namespace}/*, all of a namespace, or */*, everybody", ExitCode.USAGE)
    if text.startswith(names.FULL):
        return text
    home, slash, service = text.rpartition("/")
    full = names.service_name(service, home if slash else namespace)
    return "/".join(ANY if part == "*" else part for part in full.split("/"))


def _secured(service: Service, mutual_tls: bool) -> bool:
    """Makes sure that callers have identities. Returns whether that changed anything."""
    from sira.registry.v1.traffic_policy_pb2 import TlsMode

    if service.traffic_policy.tls == TlsMode.TLS_MODE_MUTUAL:
        return False
    if not mutual_tls:
        raise Failure(
            f"{names.short(service.name)} does not know its callers: its policy has no mutual TLS. --mutual-tls turns "
            "it on; all that call it, and all that serve it, need identities then",
            ExitCode.CONFLICT,
        )
    service.traffic_policy.tls = TlsMode.TLS_MODE_MUTUAL
    return True


def _denied(service: Service, source: str, methods: Sequence[str]) -> bool:
    if not service.HasField("access_policy"):
        raise Failure(
            f"everybody may call {names.short(service.name)}: it has no rules; `sira allow` makes the first",
            ExitCode.CONFLICT,
        )
    try:
        changed = access_rules.deny(service.access_policy, source, methods)
    except access_rules.AllowedWholly as error:
        raise Failure(
            "--method: it may call everything; deny that first, and then allow the methods that are left",
            ExitCode.CONFLICT,
        ) from error
    if changed:
        return True
    if others := access_rules.wider(service.access_policy, source, methods):
        raise Failure(
            f"no rule names {summary.caller(source)} for that, and it may call all the same: {_named(others)} may; "
            "deny that, and allow those that are left",
            ExitCode.CONFLICT,
        )
    raise Failure("there is no rule that allows it", ExitCode.NOT_FOUND)


def _named(sources: Sequence[str]) -> str:
    return ", ".join(map(summary.caller, sources))


def _report(session: Session, service: Service) -> None:
    policy: AccessPolicy = service.access_policy
    session.printer.many(policy.allow, COLUMNS)
    if not policy.allow:
        say(f"nobody may call {names.short(service.name)}; `sira policy clear --access` lets everybody")
