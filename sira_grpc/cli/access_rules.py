"""Changes of who may call a service, made to its access policy."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sira.registry.v1.access_policy_pb2 import AccessPolicy

MAX_IN_RULE = 64
"""Sources, and methods, of one rule."""


class AllowedWholly(ValueError):
    """A source is allowed everything: single methods cannot be taken from that."""


def allow(policy: AccessPolicy, source: str, methods: Sequence[str]) -> bool:
    """Lets a source call methods, or everything if there are none. Returns whether that changed anything.

    Args:
        policy: changed in place.
        source: name of a service, or what stands for several.
        methods: `/package.Service/Method`, or `/package.Service/*`.
    """
    allowed = _methods_of(policy, source)
    if allowed is None:
        return False
    wanted = [method for method in dict.fromkeys(methods) if method not in allowed]
    if methods and not wanted:
        return False
    if not methods:
        _remove(policy, source)
    for begin in range(0, max(len(wanted), 1), MAX_IN_RULE):
        _add(policy, source, wanted[begin : begin + MAX_IN_RULE])
    return True


def deny(policy: AccessPolicy, source: str, methods: Sequence[str]) -> bool:
    """Takes methods from a source, or all it has if there are none. Returns whether that changed anything.

    Raises:
        AllowedWholly: it has everything, and single methods are to be taken.
    """
    if not methods:
        return _remove(policy, source)
    allowed = _methods_of(policy, source)
    if allowed is None:
        raise AllowedWholly(source)
    rest = [method for method in allowed if method not in methods]
    if len(rest) == len(allowed):
        return False
    _remove(policy, source)
    if rest:
        allow(policy, source, rest)
    return True


def wider(policy: AccessPolicy, source: str, methods: Sequence[str]) -> list[str]:
    """Returns the sources of other names whose rules cover a source, or some of it: what it may call all the same.

    Args:
        policy: the rules.
        source: name of a service, or what stands for several.
        methods: only rules that allow some of these; all rules if there are none.
    """
    found = {
        name: None
        for rule in policy.allow
        if not methods or not rule.methods or any(_meet(one, other) for one in rule.methods for other in methods)
        for name in rule.sources
        if name != source and _overlap(name, source)
    }
    return list(found)


def _overlap(one: str, other: str) -> bool:
    """Whether there is a service that both names stand for."""
    pairs = zip_longest(one.split("/"), other.split("/"))
    return all("-" in parts or len(set(parts)) == 1 for parts in pairs)


def _meet(one: str, other: str) -> bool:
    """Whether there is a method that both stand for."""
    (package, _, method), (other_package, _, other_method) = one.rpartition("/"), other.rpartition("/")
    return package == other_package and ("*" in (method, other_method) or method == other_method)


def _methods_of(policy: AccessPolicy, source: str) -> list[str] | None:
    """The methods that the rules that name a source allow it; None for everything."""
    rules = [rule for rule in policy.allow if source in rule.sources]
    if any(not rule.methods for rule in rules):
        return None
    return [method for rule in rules for method in rule.methods]


def _add(policy: AccessPolicy, source: str, methods: Sequence[str]) -> None:
    """Puts a source into a rule of just these methods, or these methods into one of its own, or makes a rule."""
    for rule in policy.allow:
        if set(rule.methods) == set(methods) and len(rule.sources) < MAX_IN_RULE:
            rule.sources.append(source)
            return
    for rule in policy.allow:
        if list(rule.sources) == [source] and rule.methods and len(rule.methods) + len(methods) <= MAX_IN_RULE:
            rule.methods.extend(methods)
            return
    policy.allow.add(sources=[source], methods=methods)


def _remove(policy: AccessPolicy, source: str) -> bool:
    """Takes a source out of every rule, and the rules out that have none then."""
    found = False
    for rule in list(policy.allow):
        if source in rule.sources:
            found = True
            rule.sources.remove(source)
        if not rule.sources:
            policy.allow.remove(rule)
    return found
