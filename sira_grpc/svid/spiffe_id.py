"""SPIFFE IDs: their form, the kinds that Sira knows, and patterns of them.

Source: the SPIFFE standard, "The SPIFFE Identity and Verifiable Identity Document", section 2.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

SCHEME = "spiffe://"
MAX_BYTES = 2048
ANY = "*"
"""A segment of a pattern that stands for any one segment."""

_TRUST_DOMAIN = re.compile(r"[a-z0-9._-]{1,255}")
_SEGMENT = re.compile(r"[A-Za-z0-9._-]+")
_ID = re.compile(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?")

KERNEL = "kernel"
"""First label of the DNS name of each member of a trust domain."""
SERVICE, OPERATOR, NODE, MEMBER, PLUGIN, OTHER = "service", "operator", "node", "member", "plugin", "other"
_NAMED = {OPERATOR, NODE, MEMBER, PLUGIN}


@dataclass(frozen=True, slots=True)
class SpiffeId:
    """A parsed SPIFFE ID.

    Attributes:
        trust_domain: such as `example.org`.
        segments: of the path; empty for the trust domain itself.
    """

    trust_domain: str
    segments: tuple[str, ...] = ()

    @classmethod
    def parse(cls, text: str) -> SpiffeId:
        """Reads `spiffe://trust-domain/segment/...`.

        Raises:
            ValueError: it is none; says the rule.
        """
        return cls(*_split(text, wildcards=False))

    def __str__(self) -> str:
        """Its text."""
        return "/".join((SCHEME + self.trust_domain, *self.segments))

    @property
    def path(self) -> str:
        """The path without its leading slash: `ns/default/svc/checkout`."""
        return "/".join(self.segments)

    @property
    def kind(self) -> str:
        """`service`, `operator`, `node`, `member` or `plugin`; `other` for a path that Sira gives no meaning."""
        match self.segments:
            case ("ns", namespace, "svc", service) if _ID.fullmatch(namespace) and _ID.fullmatch(service):
                return SERVICE
            case (kind, _) if kind in _NAMED:
                return kind
            case _:
                return OTHER

    @property
    def service_name(self) -> str:
        """`namespaces/{ns}/services/{svc}` of a service; empty for what is none."""
        if self.kind != SERVICE:
            return ""
        return f"namespaces/{self.segments[1]}/services/{self.segments[3]}"

    @property
    def dns_name(self) -> str:
        """The DNS name that comes with the identity, and which nobody else's certificates may hold.

        `checkout.default.example.org` for a service, `kernel.example.org` for each member; empty for all others.
        """
        match self.kind:
            case "service":
                return f"{self.segments[3]}.{self.segments[1]}.{self.trust_domain}"
            case "member":
                return f"{KERNEL}.{self.trust_domain}"
            case _:
                return ""


def check_trust_domain(text: str) -> str:
    """Returns the name of a trust domain if it is one.

    Raises:
        ValueError: it is none; says the rule.
    """
    if not _TRUST_DOMAIN.fullmatch(text):
        raise ValueError(f"{text!r} is no trust domain: 1 to 255 of a-z, 0-9, dot, dash and underscore")
    return text


def check_pattern(text: str) -> str:
    """Returns a pattern if it is one: a SPIFFE ID with a path, of whose segments any may be `*`.

    Raises:
        ValueError: it is none; says the rule.
    """
    if not _split(text, wildcards=True)[1]:
        raise ValueError(f"{text!r} must have a path")
    return text


def matches(pattern: str, identity: SpiffeId) -> bool:
    """Whether a pattern covers an identity: the same trust domain, as many segments, each the same or `*`."""
    domain, segments = _split(pattern, wildcards=True)
    return (
        domain == identity.trust_domain
        and len(segments) == len(identity.segments)
        and all(wanted in (ANY, given) for wanted, given in zip(segments, identity.segments, strict=True))
    )


def _split(text: str, *, wildcards: bool) -> tuple[str, tuple[str, ...]]:
    if len(text.encode()) > MAX_BYTES:
        raise ValueError(f"a SPIFFE ID has at most {MAX_BYTES} bytes")
    if not text.startswith(SCHEME):
        raise ValueError(f"{text!r} does not begin with {SCHEME}")
    domain, *segments = text.removeprefix(SCHEME).split("/")
    check_trust_domain(domain)
    for segment in segments:
        if wildcards and segment == ANY:
            continue
        if not _SEGMENT.fullmatch(segment) or segment in (".", ".."):
            raise ValueError(
                f"{text!r} has a segment that is empty, a dot, or not of A-Z, a-z, 0-9, dot, dash, underscore"
            )
    return domain, tuple(segments)
