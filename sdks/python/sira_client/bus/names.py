"""Resource names of topics, subscriptions and dead letters."""

from __future__ import annotations

import re

_ID = r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?"
_SEGMENT = r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?"
_NAMESPACE = re.compile(_ID)
_TOPIC = re.compile(rf"{_SEGMENT}(\.{_SEGMENT}){{0,7}}")
_SUBSCRIPTION = re.compile(_ID)
_LONGEST_TOPIC = 200


def parent_name(namespace: str) -> str:
    """The resource name of a namespace.

    Raises:
        ValueError: the id is malformed.
    """
    _check("namespace", namespace, _NAMESPACE)
    return f"namespaces/{namespace}"


def topic_name(topic: str, namespace: str) -> str:
    """The resource name of a topic, given by its short name, `orders.eu.created`, or already by its resource name.

    Raises:
        ValueError: a name is malformed.
    """
    namespace, topic = _split(topic, "topics", namespace)
    _check("topic", topic, _TOPIC)
    if len(topic) > _LONGEST_TOPIC:
        raise ValueError(f"topic: must be at most {_LONGEST_TOPIC} characters")
    return f"{parent_name(namespace)}/topics/{topic}"


def short_topic(topic: str) -> str:
    """The name of a topic without its namespace, given either way."""
    return topic.rpartition("/")[2]


def subscription_name(subscription: str, namespace: str) -> str:
    """The resource name of a subscription, given by its id or already by its resource name.

    Raises:
        ValueError: an id is malformed.
    """
    namespace, subscription = _split(subscription, "subscriptions", namespace)
    _check("subscription", subscription, _SUBSCRIPTION)
    return f"{parent_name(namespace)}/subscriptions/{subscription}"


def _split(name: str, collection: str, namespace: str) -> tuple[str, str]:
    """Namespace and id of what is given by its id, of that namespace, or by its resource name."""
    match name.split("/"):
        case ["namespaces", named, found, own] if found == collection:
            return named, own
        case _:
            return namespace, name


def _check(field: str, value: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(value):
        raise ValueError(f"{field}: {value!r} must match {pattern.pattern}")
